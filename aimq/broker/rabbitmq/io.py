"""The one thread that does RabbitMQ's input and output, so that no connection is ever shared."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop

_log = logging.getLogger(__name__)


class IoThread:
    """Runs calls handed over by any thread, in order, beside the connections' own events.

    Hand-overs are batched: the loop is woken once for all that come before it gets to them, since
    waking it costs more than most calls.
    """

    def __init__(self) -> None:
        self.loop: Any = IOLoop()
        self._calls: deque[Callable[[], object]] = deque()
        self._woken = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="rabbitmq", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], object]) -> None:
        """Run `call` on the thread, soon. Thread-safe; after `stop` nothing is run."""
        self._calls.append(call)
        if not self._woken:
            self._woken = True
            if not self._ended:
                self.loop.add_callback_threadsafe(self._drain)

    def later(self, delay: float, call: Callable[[], object]) -> None:
        """Run `call` after `delay` seconds. Only on the thread."""
        self.loop.call_later(delay, lambda: _guarded(call))

    def stop(self) -> None:
        """End the thread after the calls handed over so far. Thread-safe; idempotent."""
        self.submit(self._end)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _drain(self) -> None:
        self._woken = False  # first: whoever appends from now on wakes the loop again
        while self._calls:
            _guarded(self._calls.popleft())

    def _end(self) -> None:
        self._ended = True
        self.loop.stop()

    def _run(self) -> None:
        while not self._ended:
            try:
                self.loop.start()
            except Exception:  # noqa: BLE001 # the thread outlives whatever one event does
                _log.exception("An event of RabbitMQ's connection failed")
        self.loop.close()


def _guarded(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:  # noqa: BLE001 # as above
        _log.exception("A call on RabbitMQ's thread failed")
