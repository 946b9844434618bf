"""Calls listeners for changed jobs, whichever process changed them."""

# ruff: noqa: S608 # only constants of ours are put into SQL; values are bound

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from typing import Final

from aimq.jobs.job import Job
from aimq.jobs.sqlite.rows import SUMMARY, TOPIC, to_job
from aimq.sqlite.database import Database
from aimq.sqlite.notifier import Notifier

#: Most jobs read at once.
_PAGE: Final = 500
_log = logging.getLogger(__name__)


class Watch:
    """A thread that follows the change numbers of the ``job`` table, from the first listener on.

    Every change draws a greater number inside its transaction, so that none is passed over; of
    several changes of one job only the last is still there to be read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._notifier = Notifier(database, TOPIC)
        self._listeners: dict[object, Callable[[Job], None]] = {}
        self._lock = threading.Lock()  # of starting and closing
        self._thread = threading.Thread(target=self._run, name="job-watch", daemon=True)
        self._seen: int | None = None
        self._closed = False

    def add(self, listener: Callable[[Job], None]) -> Callable[[], None]:
        """Call `listener` for changes from now on. Returns a function that ends that."""
        key = object()
        self._listeners[key] = listener
        with self._lock:
            if not self._thread.is_alive() and not self._closed:
                self._notifier.look(self._read_changes)
                self._thread.start()

        def remove() -> None:
            self._listeners.pop(key, None)

        return remove

    def close(self) -> None:
        """End the thread. Idempotent."""
        with self._lock:
            self._closed = True
        self._notifier.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        self._notifier.close()

    def _run(self) -> None:
        while not self._closed:
            self._notifier.look(self._read_changes)
            self._notifier.wait(float("inf"))

    def _read_changes(self) -> None:
        latest = self._latest()
        if self._seen is None:
            self._seen = latest
        elif self._seen > latest:  # the file was replaced
            self._seen = 0
        while self._seen < latest:
            page = self._page(self._seen)
            for row in page:
                self._call(to_job(row))
                self._seen = int(row["change"])
            if len(page) < _PAGE:  # of deleted jobs nothing is left to read
                self._seen = max(self._seen, latest)

    def _latest(self) -> int:
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM counter WHERE name = 'change'").fetchone()
        return int(row["value"])

    def _page(self, seen: int) -> list[sqlite3.Row]:
        with self._database.reading() as connection:
            return connection.execute(
                f"SELECT change, {SUMMARY} FROM job WHERE change > ? ORDER BY change LIMIT ?",
                (seen, _PAGE),
            ).fetchall()

    def _call(self, job: Job) -> None:
        for listener in list(self._listeners.values()):
            try:
                listener(job)
            except Exception:  # noqa: BLE001 # the other listeners go on
                _log.exception("A listener failed")
