"""Where everything runs that would hold the event loop up, and how much of it may wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Final, TypeVar, TypeVarTuple

from aimq.errors import Overloaded

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Calls that may wait for a thread, for each thread.
WAITING_PER_THREAD: Final = 64
#: Seconds a client is asked to wait when there are more.
RETRY_SECONDS: Final = 2.0


class Threads:
    """A bounded pool. Belongs to the event loop.

    Args:
        size: calls executed side by side.
        aside: entered while a call waits or runs, so that it does not count among the quick ones.
    """

    def __init__(self, size: int, aside: Callable[[], AbstractContextManager[None]]) -> None:
        self._pool = ThreadPoolExecutor(size, "ml")
        self._bound = size * (WAITING_PER_THREAD + 1)
        self._aside = aside
        self.under_way = 0

    async def run(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return what the call returns. Raises `Overloaded` when too many wait already."""
        if self.under_way >= self._bound:
            raise Overloaded(
                "More large requests are under way than can be answered in time; try again later.",
                retry_after=RETRY_SECONDS,
            )
        self.under_way += 1
        try:
            with self._aside():
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._pool, call, *args)
        finally:
            self.under_way -= 1

    def close(self) -> None:
        """Wait for what runs, and end the threads. Blocks."""
        self._pool.shutdown()
