"""The tables of an AIMQ database, by ``user_version``.

A queue and a job store may share a file or have one each; the file is the same either way. To
change the tables, append a migration; never change one that was released.

``message``: one row per message, whatever its state.

    state        READY, HELD (delivered, not settled), DELAYED (waits for a retry) or DEAD
    position     order among the ready ones; kept while held, so that what comes back goes first
    due_at       when HELD: end of the lease; when DELAYED: when it becomes ready
    delivery     number of the latest delivery: settling an earlier one finds nothing
    lost         deliveries in a row that ended with the consumer's death

``job``: one row per job (`aimq.jobs.job.Job`), its claim, and ``change``, the number of its latest
change, for those who watch. Times are whole microseconds since 1970, UTC.

``tombstone``: ids of deleted jobs, until they would have expired.

``counter`` gives out positions and change numbers; ``listener`` says whom to wake (`bell`).
"""

from __future__ import annotations

import sqlite3
from typing import Final

from aimq.errors import SettingsError

#: "AIMQ" in ASCII, in the file's header: tells our files from other SQLite databases.
APPLICATION_ID: Final = 0x41494D51

READY: Final = 0
HELD: Final = 1
DELAYED: Final = 2
DEAD: Final = 3

_VERSION_1: Final = (
    "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO counter VALUES ('position', 0), ('change', 0)",
    """CREATE TABLE listener (
        port INTEGER NOT NULL, topic TEXT NOT NULL, expires_at INTEGER NOT NULL,
        PRIMARY KEY (topic, port)
    ) WITHOUT ROWID""",
    """CREATE TABLE message (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        state INTEGER NOT NULL DEFAULT 0,
        position INTEGER NOT NULL,
        due_at INTEGER NOT NULL DEFAULT 0,
        delivery INTEGER NOT NULL DEFAULT 0,
        lost INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        message_id TEXT NOT NULL,
        first_failed_at INTEGER,
        last_failed_at INTEGER,
        error TEXT,
        error_type TEXT,
        traceback TEXT,
        unprocessable INTEGER NOT NULL DEFAULT 0,
        history TEXT,
        body BLOB NOT NULL
    )""",
    "CREATE INDEX message_ready ON message (queue, position) WHERE state = 0",
    "CREATE INDEX message_due ON message (queue, due_at) WHERE state IN (1, 2)",
    "CREATE INDEX message_dead ON message (queue, last_failed_at) WHERE state = 3",
    """CREATE TABLE job (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        filename TEXT NOT NULL,
        status TEXT NOT NULL,
        rows_total INTEGER,
        rows_done INTEGER NOT NULL,
        rows_failed INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        error TEXT,
        model_versions TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        started_at INTEGER,
        finished_at INTEGER,
        published INTEGER NOT NULL,
        traceparent TEXT NOT NULL,
        callback_url TEXT NOT NULL,
        change INTEGER NOT NULL,
        token TEXT,
        owner TEXT,
        lease_until INTEGER NOT NULL DEFAULT 0,
        crashes INTEGER NOT NULL DEFAULT 0,
        swept_until INTEGER NOT NULL DEFAULT 0,
        idempotency_key TEXT,
        input BLOB NOT NULL,
        result BLOB NOT NULL
    )""",
    "CREATE INDEX job_created ON job (created_at)",
    "CREATE INDEX job_status ON job (status, created_at)",
    "CREATE INDEX job_change ON job (change)",
    "CREATE INDEX job_unpublished ON job (created_at) WHERE published = 0 AND status = 'queued'",
    """CREATE UNIQUE INDEX job_idempotency_key ON job (idempotency_key)
       WHERE idempotency_key IS NOT NULL""",
)

_VERSION_2: Final = (
    "CREATE TABLE tombstone (job_id TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX tombstone_expires ON tombstone (expires_at)",
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_VERSION_1, _VERSION_2)


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Bring a database to the newest version, in one transaction. Safe in several processes.

    Args:
        connection: without a transaction begun.
        name: of the file, for messages.

    Raises:
        SettingsError: another program's database, or one of a newer AIMQ.
    """
    if version_of(connection, name) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in MIGRATIONS[version_of(connection, name) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def version_of(connection: sqlite3.Connection, name: str) -> int:
    """Return the version of a database's tables: 0 when it has none. Changes nothing.

    Raises:
        SettingsError: another program's database, or one of a newer AIMQ.
    """
    version, application, tables = connection.execute(  # in one: another process may be migrating
        "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)"
        " FROM pragma_user_version, pragma_application_id"
    ).fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise SettingsError(f"{name} is another program's database; choose another file")
    if version > len(MIGRATIONS):
        raise SettingsError(
            f"{name} was written by a newer AIMQ (tables of version {version}, this one knows "
            f"{len(MIGRATIONS)}); upgrade, or choose another file"
        )
    return int(version)
