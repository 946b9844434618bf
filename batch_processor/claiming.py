"""The claims that this process holds. One thread renews their leases, all of them in one call."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from aimq.errors import AimqError
from aimq.jobs.port import Claim, JobStore, Refused
from batch_processor.work import Work

#: Renewals per lease: two may be missed.
_PER_LEASE: Final = 3
#: Longest time between two renewals, in seconds: they also show which jobs were cancelled.
_LONGEST: Final = 1.0

logger = logging.getLogger(__name__)


class Claims:
    """Claims jobs and renews the claims while they are worked on. Thread-safe.

    Args:
        owner: names this process in its claims.
        lease_seconds: how long a claim holds unless it is renewed.
    """

    def __init__(self, store: JobStore, owner: str, lease_seconds: float) -> None:
        self._store, self._owner = store, owner
        self.lease_seconds = lease_seconds
        self._held: set[Work] = set()
        self._lock = threading.Lock()
        self._working = threading.Event()
        self._closed = threading.Event()
        self._away = False
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Start the thread that renews."""
        self._thread.start()

    def claim(self, job_ids: Sequence[str]) -> list[Claim | Refused]:
        """Claim jobs; see `JobStore.claim`. Raises `StoreUnavailable`."""
        return self._store.claim(job_ids, self._owner, self.lease_seconds)

    @contextmanager
    def renewed(self, works: Sequence[Work]) -> Iterator[None]:
        """Renew the claims of `works` for the length of a ``with`` block."""
        with self._lock:
            self._held.update(works)
            self._working.set()
        try:
            yield
        finally:
            with self._lock:
                self._held.difference_update(works)
                if not self._held:
                    self._working.clear()

    def held(self) -> list[Work]:
        """Return the work whose claims are being renewed."""
        with self._lock:
            return list(self._held)

    def renew(self) -> None:
        """Renew every claim once; cancel the work whose claim is void."""
        works = self.held()
        try:
            kept = self._store.renew([work.claim for work in works], self.lease_seconds)
        except AimqError as exc:
            if not self._away:
                logger.warning("Claims cannot be renewed for now: %s", exc.detail)
            self._away = True
            return
        self._away = False
        for work, still_held in zip(works, kept, strict=True):
            if not still_held:
                work.cancel()

    def close(self) -> None:
        """Stop renewing. Idempotent."""
        self._closed.set()
        self._working.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        interval = min(self.lease_seconds / _PER_LEASE, _LONGEST)
        while self._working.wait() and not self._closed.wait(interval):
            try:
                self.renew()
            except Exception:
                logger.exception("Claims could not be renewed")
