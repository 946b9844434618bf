"""A bound on what is under way at one time, which can be asked without waiting."""

from __future__ import annotations

import asyncio
from collections import deque

from aimq.errors import Overloaded


class Slots:
    """A semaphore with a bounded queue. Belongs to one event loop; first come, first served.

    Args:
        most: slots.
        waiting: those who may wait for one.
    """

    def __init__(self, most: int, waiting: int) -> None:
        self._free = most
        self._bound = waiting
        self._queue: deque[asyncio.Future[None]] = deque()

    def take_now(self) -> bool:
        """Take a slot if one is free, and nobody waits for it."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def take(self) -> None:
        """Take a slot, once there is one. Raises `Overloaded` when too many wait already."""
        if self.take_now():
            return
        if len(self._queue) >= self._bound:
            raise Overloaded("Too many requests wait for the ML service.", retry_after=1.0)
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given one just before
                self.give()
            raise

    def give(self) -> None:
        """Give a slot back: to who waits longest, if anybody does."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
