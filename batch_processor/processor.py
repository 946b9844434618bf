"""The workers of one process: threads that consume, and their end in good order."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aimq.broker.port import Broker
from batch_processor.consumer import Consumer
from batch_processor.workshop import Workshop

#: Part of the time for shutting down that is kept for handing back, in seconds.
_RESERVE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Station:
    """Threads of their own for one queue, so that no queue starves another.

    Attributes:
        shop: what its consumer works with.
        prefetch: most messages held; those beyond what the threads work on wait here while
            another process might be idle, so that it is close to that for long work.
    """

    queue: str
    shop: Workshop
    threads: int
    prefetch: int


class Processor:
    """Consumes work queues, each with a consumer and threads of its own.

    Args:
        shop: whose leases and settling all stations share.
    """

    def __init__(self, broker: Broker, shop: Workshop, stations: Sequence[Station]) -> None:
        self._broker, self._shop, self._stations = broker, shop, stations
        self._consumers: list[Consumer] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Subscribe and start working."""
        self._shop.leases.start()
        self._shop.settling.start()
        for station in self._stations:
            subscription = self._broker.subscribe(station.queue, station.prefetch)
            consumer = Consumer(subscription, station.shop)
            self._consumers.append(consumer)
            for number in range(1, station.threads + 1):
                # Daemons: a handler that never returns must not keep the process from ending.
                thread = threading.Thread(
                    target=consumer.run, name=f"{station.queue}-{number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def stop(self, seconds: float) -> None:
        """Take no more work, finish what is in hand within `seconds`, or hand it back."""
        deadline = time.monotonic() + seconds
        for consumer in self._consumers:
            consumer.stop()
        if not self._join(deadline - min(_RESERVE_SECONDS, seconds / 2)):
            for consumer in self._consumers:
                consumer.recall()
            if not self._join(deadline):
                for consumer in self._consumers:
                    consumer.abandon()
        self._shop.leases.close()
        self._shop.settling.close()

    def _join(self, deadline: float) -> bool:
        """Wait for the threads until `deadline`; tell whether all have ended."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)
