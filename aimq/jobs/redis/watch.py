"""Calls a listener for changed jobs in Redis.

The sorted set of changes is read from the last tick on. The channel says when it is time to read;
it may be silent, so that the set is also read after a reconnect and several times a second. A
server that allows no subscription is polled.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import redis

from aimq.errors import InternalError, StoreUnavailable
from aimq.jobs.job import Job
from aimq.jobs.redis.record import decoded, from_pairs
from aimq.jobs.redis.server import RedisServer
from aimq.times import MICRO

_log = logging.getLogger(__name__)

_CHANNEL: Final = "aimq:changes"
#: Most changes read at once.
_PAGE: Final = 500
#: Longest time between two reads, and between two attempts to connect, in seconds.
_WAIT_SECONDS: Final = 0.25
#: How far our clock may be ahead of the server's when a watch begins without a server.
_CLOCK_MARGIN_SECONDS: Final = 60


class Watch:
    """A thread that calls `listener` with every change from now on, until `stop`."""

    def __init__(self, server: RedisServer, listener: Callable[[Job], None]) -> None:
        self._server = server
        self._listener = listener
        self._stopped = threading.Event()
        self._tick = self._present()
        self._thread = threading.Thread(target=self._run, name="redis-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch soon. Idempotent."""
        self._stopped.set()

    def join(self) -> None:
        """Wait until the watch has ended."""
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _present(self) -> bytes:
        """Return the last tick; about the time if the server is away: it made none later."""
        try:
            return self._server.call(lambda client: client.get("aimq:tick")) or b"0"
        except StoreUnavailable:
            return b"%d" % ((time.time() - _CLOCK_MARGIN_SECONDS) * MICRO)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._server.subscription() as subscription:
                    self._follow(subscription)
            except (StoreUnavailable, redis.RedisError) as exc:
                _log.debug("watch interrupted: %s", exc)
                self._stopped.wait(_WAIT_SECONDS)

    def _follow(self, subscription: redis.client.PubSub) -> None:
        """Read changes until the connection breaks."""
        wait: Callable[[], object] = partial(_await_message, subscription)
        subscription.subscribe(_CHANNEL)
        while not self._stopped.is_set():
            self._read_changes()
            try:
                wait()
            except redis.ResponseError as exc:
                _log.warning("Redis allows no subscription, changes are polled for: %s", exc)
                wait = partial(self._stopped.wait, _WAIT_SECONDS)

    def _read_changes(self) -> None:
        more = True
        while more and not self._stopped.is_set():
            tick, *changes = self._server.run("changes", [self._tick, _PAGE])
            for job_id, pairs in changes:
                self._tell(decoded(job_id), pairs)
            self._tick = tick
            more = len(changes) == _PAGE

    def _tell(self, job_id: str, pairs: list[bytes]) -> None:
        try:
            if pairs and not self._stopped.is_set():
                self._listener(from_pairs(job_id, pairs))
        except InternalError as exc:
            _log.error("a change is passed over: %s", exc)
        except Exception:  # noqa: BLE001 # the watch goes on
            _log.exception("a listener of job changes failed")


def _await_message(subscription: redis.client.PubSub) -> None:
    """Return after the messages that there are, or when it is time to read anyway."""
    if subscription.get_message(timeout=_WAIT_SECONDS):
        while subscription.get_message(timeout=0):
            pass  # one read covers them all
