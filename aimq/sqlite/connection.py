"""Opening an SQLite database that several processes use at once.

Write-ahead logging: readers never wait for the one writer.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from aimq.sqlite.failures import is_busy
from aimq.sqlite.migrations import migrate, version_of

#: Longest wait for another process's transaction, in seconds.
BUSY_SECONDS: Final = 5.0
#: Pages (4 KiB) of the log after which a commit moves them to the database file.
_CHECKPOINT_PAGES: Final = 2000
_CACHE_KIB: Final = 16_384
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.002


class Opened(NamedTuple):
    """A connection, and the file it belongs to as device and inode."""

    connection: sqlite3.Connection
    identity: tuple[int, int] | None

    def is_current(self, path: Path) -> bool:
        """Tell whether `path` still is that file: one deleted under us would be written to no
        avail, for it is gone with its last user.
        """
        return self.identity is not None and self.identity == _identity(path)


def open_file(path: Path) -> Opened:
    """As `connect`, noting which file it was."""
    connection = connect(path)
    return Opened(connection, _identity(path))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def connect(path: Path) -> sqlite3.Connection:
    """Open a database, creating and migrating it as needed.

    The connection is in autocommit mode and may be used by one thread at a time, whichever.

    Raises:
        sqlite3.Error: as SQLite tells it (`aimq.sqlite.failures.explain`).
        SettingsError: not a database of this AIMQ.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        version_of(connection, str(path))  # before anything is written to what may not be ours
        _configure(connection)
        retry_while_busy(lambda: migrate(connection, str(path)))
    except BaseException:
        connection.close()
        raise
    return connection


def retry_while_busy(action: Callable[[], object]) -> None:
    """Call `action` until it no longer fails for another process's lock.

    SQLite's own waiting backs off to 100 ms, which would be most of a message's latency, and does
    not cover every lock.

    Raises:
        sqlite3.OperationalError: still locked after `BUSY_SECONDS`, or another error.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    pause = _FIRST_PAUSE
    while True:
        try:
            action()
        except sqlite3.OperationalError as exc:
            if not is_busy(exc) or time.monotonic() >= deadline:
                raise
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        else:
            return


def _configure(connection: sqlite3.Connection) -> None:
    # Switching to WAL takes a lock for which SQLite does not wait.
    retry_while_busy(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
