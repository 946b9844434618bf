"""Blocking calls, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

from aimq.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")

#: Calls that may wait for each thread.
WAITING_PER_THREAD: Final = 64
#: Seconds a client is asked to wait when more do.
RETRY_SECONDS: Final = 2.0


class ThreadPool:
    """A bounded pool for one kind of call, so that what hangs stalls only its own callers.

    Belongs to one event loop.

    Args:
        size: calls executed side by side.
        waiting: calls that may wait for a thread.

    Attributes:
        under_way: calls that wait or run.
    """

    def __init__(self, size: int, name: str, waiting: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._most = size + (size * WAITING_PER_THREAD if waiting is None else waiting)
        self.under_way = 0

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call on a thread, and return or raise what the call does.

        Raises:
            Overloaded: too many calls wait already.
        """
        if self.under_way >= self._most:
            raise Overloaded(
                "More is under way than can be answered in time; try again later.",
                retry_after=RETRY_SECONDS,
            )
        self.under_way += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, partial(call, *args, **kwargs))
        finally:
            self.under_way -= 1

    def close(self, *, wait: bool = False) -> None:
        """Take no more calls and drop those not begun. Idempotent.

        Args:
            wait: block until those that run have ended.
        """
        self._pool.shutdown(wait=wait, cancel_futures=True)
