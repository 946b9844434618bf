"""How much memory the spreadsheets in work may take together."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

#: Where the memory limit of a container stands, in bytes: cgroup 2, cgroup 1.
_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
#: Longest wait between two calls of `check`, in seconds.
_CHECK_SECONDS: Final = 1.0


class MemoryBudget:
    """Bounds the memory of the files in work: large ones wait for each other, small ones pass.

    Small is what takes at most a quarter of the budget with one such file in every thread. Large
    files have the other three quarters, in the order in which they come; one that is larger has
    them alone. Thread-safe.

    Args:
        total: the budget, in bytes.
        threads: most files in work at once.
    """

    def __init__(self, total: int, threads: int) -> None:
        self._small = total // (4 * threads)
        self._most = self._free = total * 3 // 4
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size: int, check: Callable[[], object]) -> Iterator[None]:
        """Take `size` bytes of the budget for the length of a ``with`` block; wait for them.

        Args:
            check: called about once a second while waiting; what it raises ends the wait.
        """
        taken = 0 if size <= self._small else min(size, self._most)
        if taken:
            self._take(taken, check)
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()

    def _take(self, size: int, check: Callable[[], object]) -> None:
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                while self._waiting[0] is not turn or self._free < size:
                    self._changed.wait(_CHECK_SECONDS)
                    check()
                self._free -= size
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()


def available_memory() -> int:
    """Return the bytes of memory that this process may use: the container's or the machine's."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [path.read_text().strip() for path in _LIMITS if path.exists()]
    return min([machine, *(int(limit) for limit in limits if limit.isdecimal())])
