"""The Subscription port on an SQLite file."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import cast

from aimq.broker.failure_history import bounded
from aimq.broker.port import Delivery, Failure
from aimq.broker.sqlite import queue_table
from aimq.broker.sqlite.rows import Tag
from aimq.sqlite.database import Database
from aimq.sqlite.notifier import Notifier
from aimq.times import MICRO, now_us

_log = logging.getLogger(__name__)


class SqliteSubscription:
    """Holds what it gave out and nothing more: no message waits in a busy process while another
    process is idle.

    Args:
        database: the queue's file.
        queue: the work queue.
        prefetch: most unsettled deliveries.
        lease: seconds a delivery outlives its consumer; `renew` is called more often.
    """

    def __init__(self, database: Database, queue: str, prefetch: int, lease: float) -> None:
        self._database = database
        self._queue = queue
        self._prefetch = prefetch
        self._lease = lease
        self._notifier = Notifier(database, queue)
        self._held: set[Tag] = set()
        self._lock = threading.Lock()  # of _held
        self._receiving = threading.Lock()  # one thread at a time waits
        self._closed = False

    def receive(self, limit: int = 1, timeout: float | None = None) -> list[Delivery]:
        """See the port."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        if not self._receiving.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            return []
        try:
            while not self._closed:
                found, pause = self._notifier.look(lambda: self._take(limit)) or ([], math.inf)
                left = deadline - time.monotonic()
                if found or left <= 0:
                    return found
                self._notifier.wait(min(pause, left))
            return []
        finally:
            self._receiving.release()

    def ack(self, delivery: Delivery) -> Future[bool]:
        """See the port."""
        return self._settle(delivery, queue_table.ack)

    def retry(self, delivery: Delivery, delay: float, failure: Failure) -> Future[bool]:
        """See the port."""
        due_at = self._after(delay)
        return self._settle(delivery, queue_table.retry, due_at, bounded(failure), now_us())

    def defer(self, delivery: Delivery, delay: float) -> Future[bool]:
        """See the port."""
        return self._settle(delivery, queue_table.defer, self._after(delay))

    def dead_letter(self, delivery: Delivery, failure: Failure) -> Future[bool]:
        """See the port."""
        return self._settle(delivery, queue_table.dead_letter, bounded(failure), now_us())

    def requeue(self, delivery: Delivery) -> Future[bool]:
        """See the port."""
        return self._settle(delivery, queue_table.requeue)

    def close(self) -> None:
        """See the port. Nothing is held that was not given out, so nothing is handed back."""
        self._closed = True
        self._notifier.notify()
        with self._receiving:  # a receive in progress ends
            self._notifier.close()

    def renew(self) -> None:
        """Hold what was given out for another lease. Raises `BrokerUnavailable`."""
        with self._lock:
            tags = list(self._held)
        if not tags:
            return
        until = self._after(self._lease)
        void = self._database.write(lambda tx: queue_table.extend(tx, tags, until), durable=False)
        with self._lock:
            lost = self._held.intersection(void)  # others were settled meanwhile
            self._held -= lost
        if lost:
            _log.warning("%s: %d deliveries were lost to a lapsed lease", self._queue, len(lost))
            self._notifier.notify()

    def release(self) -> None:
        """Put back what was given out and never settled: the broker is closing."""
        with self._lock:
            tags, self._held = self._held, set()
        for tag in sorted(tags):
            self._submit(tag, partial(queue_table.requeue, lost=True))

    def _after(self, seconds: float) -> int:
        return self._database.now_us() + int(seconds * MICRO)

    def _take(self, limit: int) -> tuple[list[Delivery], float]:
        """Return messages, and if there are none the seconds until a delay or a lease ends."""
        with self._lock:
            room = min(limit, self._prefetch - len(self._held))
        if room <= 0:
            return [], math.inf
        with self._database.reading() as connection:
            due_at = queue_table.next_ready(connection, self._queue)
        now = self._database.now_us()
        if due_at is None or due_at > now:
            return [], math.inf if due_at is None else (due_at - now) / MICRO
        until = self._after(self._lease)
        found = self._database.write(
            lambda tx: queue_table.take(tx, self._queue, room, now, until), durable=False
        )
        with self._lock:
            self._held.update(cast("Tag", delivery.tag) for delivery in found)
        return found, 0.0

    def _settle(
        self, delivery: Delivery, step: Callable[..., bool], *arguments: object
    ) -> Future[bool]:
        """Run a step of `queue_table`. False if the delivery is not held any more."""
        tag = cast("Tag", delivery.tag)
        with self._lock:
            full = len(self._held) >= self._prefetch
            held = tag in self._held
            self._held.discard(tag)
        if not held:
            future: Future[bool] = Future()
            future.set_result(False)
            return future
        if full:  # there is room again
            self._notifier.notify()
        return self._submit(tag, step, *arguments)

    def _submit(self, tag: Tag, step: Callable[..., bool], *arguments: object) -> Future[bool]:
        # A delivery whose outcome cannot be stored is given again after its lease: False.
        return self._database.submit(
            lambda tx: step(tx, tag, *arguments), durable=False, on_outage=False
        )
