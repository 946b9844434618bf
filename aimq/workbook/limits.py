"""What a child process may use to look into one workbook. Linux; elsewhere memory is not bounded.

The bounds grow with the size of the unpacked workbook: a small file that needs much memory or time
is hostile or broken, a large one may need it.
"""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path
from typing import Final

from aimq.workbook.package import MIB

#: Memory that reading any workbook may take, in bytes: enough for a table of a few columns with a
#: stray cell in the last row.
_MEMORY: Final = 512 * MIB
#: Bytes of memory for each byte of the unpacked workbook. Short numbers take five.
_MEMORY_FACTOR: Final = 8
_TEXT: Final = 64 * MIB
_TEXT_FACTOR: Final = 4
_SECONDS: Final = 10.0
_SECONDS_PER_MIB: Final = 0.25
#: For the first rows alone.
_HEADER_MEMORY: Final = 256 * MIB
_HEADER_SECONDS: Final = 1.0

TOO_MUCH: Final = (
    "The workbook takes too much memory to be read. Delete the rows and columns beyond the table "
    "(select them, Delete), save, and try again; or split it into several workbooks."
)
TOO_LONG: Final = (
    "The workbook takes too long to be read. Delete the rows and columns beyond the table "
    "(select them, Delete), save, and try again; or split it into several workbooks."
)


def limit_header() -> None:
    """Set the limits under which the first rows of any workbook are read."""
    _limit(_HEADER_MEMORY, _HEADER_SECONDS)


def limit_opening() -> None:
    """Set the limits under which a workbook is opened, before its size is known."""
    _limit(_MEMORY, _SECONDS)


def limit_reading(unpacked: int, max_unpacked: int) -> None:
    """Set the limits under which a workbook of `unpacked` bytes is read.

    Args:
        max_unpacked: most bytes that the cells of any workbook may take.
    """
    memory = min(_MEMORY + _MEMORY_FACTOR * unpacked, max(max_unpacked, _MEMORY))
    _limit(memory, _SECONDS + _SECONDS_PER_MIB * unpacked / MIB)


def end_limits() -> None:
    """Take the time limit away. The memory limit is set again for the next file."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def max_text(unpacked: int) -> int:
    """Return the most bytes of all texts of a workbook of `unpacked` bytes."""
    return _TEXT + _TEXT_FACTOR * unpacked


def _limit(memory: int, seconds: float) -> None:
    """Let this process take `memory` bytes more than now, and end it after `seconds`.

    The kernel ends it with SIGALRM, in whatever library it is.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if sys.platform != "linux":
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (soft if hard < 0 else min(soft, hard), hard))
