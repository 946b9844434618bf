"""The clock of leases and delays in a database, the same in all processes of the machine.

It is the time of day when the database was first opened since the machine's start, plus the time
since then by the monotonic clock. A step of the time of day therefore neither ends a lease nor
prolongs it. Where the machine does not name its starts (only Linux does), it is the time of day.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

from aimq.times import now_us

_NAME_OF_START: Final = Path("/proc/sys/kernel/random/boot_id")


def monotonic_us() -> int:
    """Return microseconds since the machine's start, about."""
    return time.monotonic_ns() // 1000


def agreed_offset(connection: sqlite3.Connection) -> int | None:
    """Return what all processes add to `monotonic_us`; None where it is the time of day instead.

    Args:
        connection: in autocommit mode, of a database with its tables.
    """
    try:
        start = _NAME_OF_START.read_text(encoding="ascii").strip()
    except OSError:
        return None
    question = "SELECT offset_us FROM clock WHERE start = ?"
    found = connection.execute(question, (start,)).fetchone()
    if found is None:
        with connection:  # commits, or rolls back
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM clock WHERE start != ?", (start,))
            connection.execute(
                "INSERT OR IGNORE INTO clock VALUES (?, ?)", (start, now_us() - monotonic_us())
            )
        found = connection.execute(question, (start,)).fetchone()
    return int(found[0])
