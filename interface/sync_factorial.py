"""The synchronous factorial: computed while the client waits, for comparison with the queue."""

from __future__ import annotations

from typing import Final

from aimq.factorial_pool import FactorialPool
from aimq.http.threads import ThreadPool

#: Requests that may wait for a process.
_WAITING: Final = 1000


class SyncFactorial:
    """Computes factorials in processes, so that the interface stays responsive.

    Belongs to one event loop. As many run at once as in a batch processor, so that the comparison
    is of two ways to wait for the same work. Further requests wait in order.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._processes = FactorialPool(count, seconds)
        self._threads = ThreadPool(count, "sync-factorial", waiting=_WAITING)

    async def digits(self, no: int) -> str:
        """Return the digits of ``no!``.

        Raises:
            Overloaded: too many requests wait already.
            Other errors: those of `FactorialPool.digits`.
        """
        return await self._threads.run(self._processes.digits, no)

    def close(self) -> None:
        """Stop what is being computed. Idempotent."""
        self._processes.close()
        self._threads.close()
