"""SQLite's errors as errors of AIMQ: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from aimq.errors import InternalError, SettingsError, TransientError

_PRIMARY: Final = 0xFF
_LOCKED: Final = "is locked by another process; stop whatever holds it open"
_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: "is in too much use at once; fewer processes may help",
    sqlite3.SQLITE_NOMEM: "cannot be used: memory has run out",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; free some space",
    sqlite3.SQLITE_READONLY: "cannot be written; give this user write permission on it",
    sqlite3.SQLITE_PERM: "cannot be opened; give this user write permission on it",
    sqlite3.SQLITE_AUTH: "cannot be opened; give this user write permission on it",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; see that its folder exists and can be written",
    sqlite3.SQLITE_CORRUPT: "is damaged; stop the services and move it away or restore a copy",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database; move it away or choose another file",
    sqlite3.SQLITE_IOERR: "cannot be read or written; check the disk",
}
_PERMANENT: Final = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN}


def _code(exc: Exception) -> int:
    """Return the primary result code; 0 for an error that Python raised itself."""
    return int(getattr(exc, "sqlite_errorcode", 0) or 0) & _PRIMARY


def is_busy(exc: sqlite3.Error) -> bool:
    """True if another process holds a lock, so that trying again helps."""
    return _code(exc) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL}


def is_permanent(exc: sqlite3.Error) -> bool:
    """True if the file cannot be used at all, so that the start is refused."""
    return _code(exc) in _PERMANENT


def is_outage(exc: Exception) -> bool:
    """True if the file, not the statement, is at fault: nothing can be written for the moment."""
    return isinstance(exc, SettingsError) or _code(exc) in _ADVICE


def map_error(exc: Exception, path: Path, unavailable: type[TransientError]) -> Exception:
    """Return AIMQ's error for one met with the database at `path`.

    An outage, or a file replaced by one that is not ours, gives `unavailable`; every other error
    of SQLite gives `InternalError`. What is no error of the file is returned as it is.
    """
    if isinstance(exc, SettingsError):
        return unavailable(exc.detail)
    if not isinstance(exc, sqlite3.Error):
        return exc
    advice = _ADVICE.get(_code(exc))
    if advice is None:
        return InternalError(f"{path}: {exc}")
    return unavailable(f"{path} {advice} ({exc})")
