"""Tells listeners of changes of jobs in Redis.

The truth is the sorted set of changes, read from the last tick on; the channel only rings when it
is time to read. So nothing is missed while the subscription is broken, or by a ring that was lost:
the set is read after every reconnect, and every second anyway. A server that allows no
subscription is polled.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import redis

from aimq.errors import InternalError, StoreUnavailable
from aimq.jobs.job import Job
from aimq.jobs.redis.record import decoded, from_summary
from aimq.jobs.redis.server import RedisServer

_log = logging.getLogger(__name__)

CHANNEL: Final = "aimq:changes"
_PAGE: Final = 500
_WAIT_SECONDS: Final = 0.25
_READ_SECONDS: Final = 1.0
_RESUBSCRIBE_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 5.0
#: How far our clock may be ahead of the server's when a watch begins without a server.
_CLOCK_MARGIN_SECONDS: Final = 60

Listener = Callable[[Job], None]


class RedisWatch:
    """One thread that reads the changes and calls every listener. Thread-safe.

    It runs from the first listener on, until `close`.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._listeners: dict[object, Listener] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._tick = b"0"
        self._bell: redis.client.PubSub | None = None
        self._subscribe_at = 0.0

    def add(self, listener: Listener) -> Callable[[], None]:
        """Call a listener with every change from now on; returns what ends that."""
        handle = object()
        with self._lock:
            self._listeners[handle] = listener
            if self._thread is None and not self._stop.is_set():
                self._tick = self._present()
                self._thread = threading.Thread(target=self._run, name="redis-watch", daemon=True)
                self._thread.start()

        def end() -> None:
            with self._lock:
                self._listeners.pop(handle, None)

        return end

    def close(self) -> None:
        """Stop the thread and wait for it. Idempotent."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread and thread is not threading.current_thread():
            thread.join()

    def _present(self) -> bytes:
        """Return the last tick, or about the time when the server is away: it made none later."""
        try:
            return self._server.call("GET", "aimq:tick") or b"0"
        except StoreUnavailable:
            return b"%d" % ((time.time() - _CLOCK_MARGIN_SECONDS) * 1_000_000)

    def _run(self) -> None:
        pause = _WAIT_SECONDS
        while not self._stop.is_set():
            try:
                self._subscribe()
                self._tell()
                self._wait_for_ring()
                pause = _WAIT_SECONDS
            except (StoreUnavailable, redis.RedisError) as exc:
                _log.debug("watch interrupted: %s", exc)
                self._unsubscribe()
                self._subscribe_at = 0.0
                self._stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        self._unsubscribe()

    def _subscribe(self) -> None:
        if self._bell is not None or time.monotonic() < self._subscribe_at:
            return
        try:
            self._bell = self._server.subscribe(CHANNEL)
            # The first answer says whether we may; rings before it are covered by the read after.
            self._bell.get_message(timeout=_READ_SECONDS)
        except redis.exceptions.ResponseError as exc:
            _log.warning("Redis allows no subscription, changes are polled for: %s", exc)
            self._unsubscribe()
            self._subscribe_at = time.monotonic() + _RESUBSCRIBE_SECONDS

    def _unsubscribe(self) -> None:
        bell, self._bell = self._bell, None
        if bell is not None:
            with suppress(redis.RedisError, OSError):
                bell.close()

    def _wait_for_ring(self) -> None:
        """Return after a ring, or when it is time to read anyway."""
        if self._bell is None:
            self._stop.wait(_WAIT_SECONDS)
            return
        read_at = time.monotonic() + _READ_SECONDS
        while not self._stop.is_set() and time.monotonic() < read_at:
            if self._bell.get_message(timeout=_WAIT_SECONDS) is not None:
                while self._bell.get_message(timeout=0) is not None:
                    pass  # one read covers them all
                return

    def _tell(self) -> None:
        """Read the changes after the last tick and tell the listeners."""
        while not self._stop.is_set():
            tick, *changes = self._server.run("changes", [self._tick, _PAGE], again=True)
            for job_id, values in changes:
                try:
                    job = from_summary(decoded(job_id), values)
                except InternalError as exc:
                    _log.error("a change is passed over: %s", exc)
                    continue
                if job:
                    self._call_listeners(job)
            self._tick = tick
            if len(changes) < _PAGE:
                return

    def _call_listeners(self, job: Job) -> None:
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            try:
                listener(job)
            except Exception:  # noqa: BLE001 - the listener's own fault; the others go on
                _log.exception("a listener of job changes failed")
