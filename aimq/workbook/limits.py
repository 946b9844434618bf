"""What the child process may use to look into one workbook. Memory is bounded on Linux only.

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

#: Enough for a table of a dozen columns with a stray cell in the last row, in bytes.
_MEMORY: Final = 512 * MIB
#: Bytes of memory for each byte of the unpacked workbook. Short numbers take five.
_MEMORY_FACTOR: Final = 8
_SECONDS: Final = 10.0
_SECONDS_PER_MIB: Final = 0.25
#: Resident memory above which a process is not kept.
_WORN: Final = 256 * MIB
#: For the first rows alone.
HEADER_MEMORY: Final = 256 * MIB
HEADER_SECONDS: Final = 1.0


def limit_reading(unpacked: int, max_memory: int) -> None:
    """Set the limits under which a workbook of `unpacked` bytes is read."""
    memory = min(_MEMORY + _MEMORY_FACTOR * unpacked, max(max_memory, _MEMORY))
    limit(memory, _SECONDS + _SECONDS_PER_MIB * unpacked / MIB)


def max_text(unpacked: int) -> int:
    """Return the most bytes of all texts together in a workbook of `unpacked` bytes."""
    return 64 * MIB + 4 * unpacked


def limit(memory: int, seconds: float) -> None:
    """Let this process take `memory` bytes more than now, and end it after `seconds`.

    The kernel ends it, with SIGALRM, whatever library it is in. 0 seconds take the limit away.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if sys.platform == "linux":
        size, _ = _memory()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = size + memory
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def worn() -> bool:
    """Return true if this process holds on to much memory, so that a new one is better."""
    return sys.platform == "linux" and _memory()[1] > _WORN


def _memory() -> tuple[int, int]:
    """Return the size of the address space and of what is resident, in bytes."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()
