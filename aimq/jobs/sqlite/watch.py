"""Telling listeners of changed jobs, whichever process changed them."""

# ruff: noqa: S608 # only constants of ours are put into SQL; values are bound

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from aimq.errors import TransientError
from aimq.jobs.job import Job
from aimq.jobs.sqlite.rows import SUMMARY, TOPIC, to_job
from aimq.sqlite.bell import Bell
from aimq.sqlite.database import Database

#: Most jobs read at once.
_PAGE: Final = 500
_OUTAGE_PAUSE: Final = 0.5
_log = logging.getLogger(__name__)


class Watch:
    """A thread that follows the change numbers of the ``job`` table. Started by its first listener.

    Every change draws a greater number inside its transaction, so that nothing is ever passed
    over; of several changes to one job only the last is still there to be seen.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: dict[object, Callable[[Job], None]] = {}
        self._lock = threading.Lock()
        self._bell: Bell | None = None
        self._thread: threading.Thread | None = None
        self._seen: int | None = None
        self._closed = False

    def add(self, listener: Callable[[Job], None]) -> Callable[[], None]:
        """Tell `listener` of changes from now on. Returns a function that ends that."""
        key = object()
        with self._lock:
            self._listeners[key] = listener
            if self._thread is None and not self._closed:
                self._start()

        def remove() -> None:
            with self._lock:
                self._listeners.pop(key, None)

        return remove

    def close(self) -> None:
        """End the thread. Idempotent."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None and self._bell is not None:
            self._bell.ring()
            if thread is not threading.current_thread():
                thread.join()
            self._bell.close()

    def _start(self) -> None:
        try:
            self._seen = self._latest()
        except TransientError as exc:
            _log.warning("%s", exc.detail)
        self._bell = Bell(self._database, TOPIC)
        self._thread = threading.Thread(
            target=self._follow, args=(self._bell,), name="job-watch", daemon=True
        )
        self._thread.start()

    def _follow(self, bell: Bell) -> None:
        out = False
        while not self._closed:
            bell.clear()
            try:
                bell.ensure_listed()
                self._tell()
            except TransientError as exc:
                if not out and not self._closed:
                    _log.warning("Jobs cannot be watched: %s", exc.detail)
                out = True
                time.sleep(_OUTAGE_PAUSE)
            else:
                out = False
                bell.wait(float("inf"))

    def _tell(self) -> None:
        latest = self._latest()
        if self._seen is None:
            self._seen = latest
        while self._seen < latest:
            with self._database.reading() as connection:
                found = connection.execute(
                    f"SELECT change, {SUMMARY} FROM job WHERE change > ? ORDER BY change LIMIT ?",
                    (self._seen, _PAGE),
                ).fetchall()
            for number, *row in found:
                self._call(to_job(row))
                self._seen = number
            if len(found) < _PAGE:
                self._seen = max(self._seen, latest)

    def _call(self, job: Job) -> None:
        with self._lock:
            listeners = list(self._listeners.values())
        for listener in listeners:
            try:
                listener(job)
            except Exception:  # noqa: BLE001 # a listener's bug is not the others' problem
                _log.exception("A listener failed")

    def _latest(self) -> int:
        with self._database.reading() as connection:
            (value,) = connection.execute(
                "SELECT value FROM counter WHERE name = 'change'"
            ).fetchone()
        return int(value)
