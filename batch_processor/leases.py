"""Keeps the claims of the work under way alive, from one thread, in one call for all of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from aimq.errors import AimqError
from aimq.jobs.port import JobStore
from batch_processor.handler import Work

#: Renewals per lease: two may be missed.
_PER_LEASE: Final = 3
#: Longest time between two renewals, in seconds: they also tell what was cancelled.
_LONGEST: Final = 1.0

logger = logging.getLogger(__name__)


class Leases:
    """Renews claims until they are released; tells the work whose claim was lost. Thread-safe."""

    def __init__(self, store: JobStore, lease_seconds: float) -> None:
        self._store = store
        self._seconds = lease_seconds
        self._held: set[Work] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._away = False
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Start renewing."""
        self._thread.start()

    @contextmanager
    def keep(self, works: Sequence[Work]) -> Iterator[None]:
        """Renew the claims of `works` for the length of a ``with`` block."""
        with self._lock:
            self._held.update(works)
        try:
            yield
        finally:
            with self._lock:
                self._held.difference_update(works)

    def held(self) -> list[Work]:
        """Return the work whose claims are being renewed."""
        with self._lock:
            return list(self._held)

    def close(self) -> None:
        """Stop renewing. Idempotent."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(min(self._seconds / _PER_LEASE, _LONGEST)):
            try:
                self.renew()
            except Exception:
                logger.exception("Claims could not be renewed")

    def renew(self) -> None:
        """Renew every claim once."""
        works = [work for work in self.held() if not work.void]
        if not works:
            return
        try:
            kept = self._store.renew([work.claim for work in works], self._seconds)
        except AimqError as exc:
            if not self._away:
                logger.warning("Claims cannot be renewed for now: %s", exc.detail)
            self._away = True
            return
        self._away = False
        for work, still in zip(works, kept, strict=True):
            if not still:
                work.lose()
