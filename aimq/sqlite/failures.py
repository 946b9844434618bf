"""SQLite's errors as one line for a person: what is wrong, where, what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

_LOW_BYTE: Final = 0xFF

_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another process; stop whatever holds it open",
    sqlite3.SQLITE_LOCKED: "is locked by another process; stop whatever holds it open",
    sqlite3.SQLITE_PROTOCOL: "is in too much use at once; fewer processes may help",
    sqlite3.SQLITE_NOMEM: "cannot be used: memory has run out",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; free some space",
    sqlite3.SQLITE_READONLY: "cannot be written; give this user write permission on it",
    sqlite3.SQLITE_PERM: "cannot be opened; give this user write permission on it",
    sqlite3.SQLITE_AUTH: "cannot be opened; give this user write permission on it",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; see that its folder exists and can be written",
    sqlite3.SQLITE_CORRUPT: "is damaged; stop the services and move it away or restore a copy",
    sqlite3.SQLITE_NOTADB: "is not an SQLite database; move it away or choose another file",
    sqlite3.SQLITE_IOERR: "cannot be read or written; see to the disk",
}

#: Trying again cannot help: at start these refuse it.
HOPELESS: Final = frozenset(
    {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN}
)


def code_of(exc: sqlite3.Error) -> int:
    """Return the primary result code of an error; 0 when it has none (raised by Python itself)."""
    return int(getattr(exc, "sqlite_errorcode", 0) or 0) & _LOW_BYTE


def is_busy(exc: sqlite3.Error) -> bool:
    """Tell whether another process is in the way, which will pass."""
    return code_of(exc) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL}


def is_outage(exc: sqlite3.Error) -> bool:
    """Tell whether the file, not the statement, is at fault, so that nothing can be written now."""
    return code_of(exc) in _ADVICE


def explain(exc: sqlite3.Error, path: Path) -> str:
    """Return the one line for an error met with the database at `path`."""
    advice = _ADVICE.get(code_of(exc))
    return f"{path} {advice} ({exc})" if advice else f"{path}: {exc}"
