"""The job store on SQLite: records in an SQLite file that several processes share.

store       the JobStore port
rows        a job as a row of the ``job`` table, and back
claims      claims in that table
tombstones  ids of deleted jobs
watch       calls listeners for changed jobs
"""

from aimq.jobs.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
