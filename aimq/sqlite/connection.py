"""A connection to an SQLite database that several processes use at once.

Write-ahead logging: readers never wait for the one writer.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path
from typing import Final

from aimq.sqlite.clock import agreed_offset, monotonic_us
from aimq.sqlite.error_mapping import is_busy
from aimq.sqlite.migrations import migrate, version_of
from aimq.times import now_us

#: Longest wait for another process's transaction, in seconds.
BUSY_SECONDS: Final = 5.0
_BUSY_PAUSE: Final = 0.002
_log = logging.getLogger(__name__)


class Connection:
    """A connection that is opened by its first use. One thread at a time may use it.

    Args:
        path: the file; it is made when missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._offset_us: int | None = None

    def get(self) -> sqlite3.Connection:
        """Return the connection, in autocommit mode; a new one if the file was replaced.

        Raises:
            sqlite3.Error: the file cannot be used, or is locked for longer than `BUSY_SECONDS`.
            SettingsError: the database is not one of this AIMQ.
        """
        if self._connection is not None and self._identity != _identity(self._path):
            _log.warning("%s was deleted or replaced while in use; opening it again", self._path)
            self.close()
        if self._connection is None:
            self._connection, self._offset_us = _open(self._path)
            self._identity = _identity(self._path)
        return self._connection

    def now_us(self) -> int:
        """Return the time of leases and delays in microseconds: see `aimq.sqlite.clock`."""
        return now_us() if self._offset_us is None else monotonic_us() + self._offset_us

    def close(self) -> None:
        """Close it; the next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _open(path: Path) -> tuple[sqlite3.Connection, int | None]:
    """Return a connection to a database with its tables, and the offset of its clock."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:  # SQLite itself does not wait for the lock that the switch to WAL takes
        try:
            return _connect(path)
        except sqlite3.OperationalError as exc:
            if not is_busy(exc) or time.monotonic() >= deadline:
                raise
        time.sleep(_BUSY_PAUSE)


def _connect(path: Path) -> tuple[sqlite3.Connection, int | None]:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        version_of(connection, str(path))  # before anything is written: the file may not be ours
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        migrate(connection, str(path))
        offset_us = agreed_offset(connection)
    except BaseException:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection, offset_us


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file. Writes to one that was replaced are lost."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
