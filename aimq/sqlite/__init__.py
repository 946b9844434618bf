"""What the embedded broker and job store share: one SQLite file, used by several processes.

url          ``sqlite:///…`` to a path
connection   opening: pragmas, file checks, migrations
migrations   the tables, by ``user_version``
failures     SQLite's errors as one clear line each
database     reading; writing with group commit
bell         waking the processes that wait for a change
"""
