"""The synchronous baseline: computing while the client waits."""

from __future__ import annotations

import asyncio

from aimq.factorial_pool import FactorialPool
from interface.threads import Threads


class Baseline:
    """Computes factorials in the request. Belongs to one event loop.

    In processes, so that the interface itself stays usable; as many at once as the batch processor
    computes, so that the comparison is of two ways to wait for the same work. Requests beyond that
    wait for their turn, in order.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._calculators = FactorialPool(count, seconds)
        self._threads = Threads(count, "baseline")
        self._turn = asyncio.Semaphore(count)

    async def digits(self, no: int) -> str:
        """Return the digits of ``no!``. Raises what `FactorialPool.digits` does."""
        async with self._turn:
            return await self._threads.run(self._calculators.digits, no)

    def close(self) -> None:
        """Stop what is being computed. Idempotent."""
        self._calculators.close()
        self._threads.close()
