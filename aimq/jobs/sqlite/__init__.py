"""The embedded job store: records in an SQLite file, for several processes at once."""

from aimq.jobs.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
