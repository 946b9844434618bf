"""An asyncio loop in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from aimq.errors import BrokerUnavailable

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class LoopThread:
    """Runs calls and coroutines of other threads on one loop. All methods are thread-safe.

    Calls are batched: the loop is woken once for all calls that arrive before it gets to them,
    because a wake-up costs more than most calls.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._calls: deque[Callable[[], object]] = deque()
        self._woken = False
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="rabbitmq", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], object]) -> None:
        """Run `call` on the loop, soon and in order. After `stop` the caller's thread runs it."""
        self._calls.append(call)
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:  # the loop is closed
                self._drain()

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a coroutine on the loop; the future has its result.

        Raises:
            BrokerUnavailable: the loop has been stopped.
        """
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise BrokerUnavailable("The broker is closed") from None

    def stop(self) -> None:
        """Cancel what runs on the loop and end the thread. Idempotent."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        self._drain()

    def _drain(self) -> None:
        self._woken = False  # first: a call appended from now on wakes the loop again
        with contextlib.suppress(IndexError):  # there are no more
            while True:
                self._guard(self._calls.popleft())

    @staticmethod
    def _guard(call: Callable[[], object]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 # one call must not take the others with it
            _log.exception("A call on RabbitMQ's thread failed")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._stopped.wait())
