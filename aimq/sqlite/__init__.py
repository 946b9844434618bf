"""The SQLite file behind the broker and the job store; several processes share it.

url            ``sqlite:///…`` to a path
times          times as the file has them
error_mapping  SQLite's errors as errors of AIMQ
migrations     the tables (``tables/*.sql``), by ``user_version``
connection     opening the file
writer         one thread per process and file that commits writes in groups
notifier       waiting for a change that any process makes
database       what an adapter uses: submit, write, read
"""
