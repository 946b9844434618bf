"""Stores how jobs ended; an outcome that cannot be stored now is kept and stored later."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from aimq.errors import AimqError
from aimq.jobs.job import FINAL
from aimq.jobs.port import JobStore
from batch_processor.disposition import Disposition, outcome
from batch_processor.work import Work

logger = logging.getLogger(__name__)


class Outcomes:
    """The outcomes of one consumer's jobs. Thread-safe.

    While the store is away the messages stay held, so that prefetch bounds how much is kept.

    Args:
        stored: called with each work, its disposition and True once the outcome is durable, or
            with False if the claim was void, so that nothing was stored.
    """

    def __init__(
        self, store: JobStore, stored: Callable[[Work, Disposition, bool], object]
    ) -> None:
        self._store, self._stored = store, stored
        self._pending: list[tuple[Work, Disposition]] = []
        self._lock = threading.Lock()

    @property
    def pending(self) -> int:
        """How many outcomes are not stored yet."""
        with self._lock:
            return len(self._pending)

    def store(self, ends: Sequence[tuple[Work, Disposition]]) -> None:
        """Store outcomes, and those that are pending; returns at once if the store is away."""
        with self._lock:
            first = not self._pending
            ends, self._pending = [*self._pending, *ends], []
        if not ends:
            return
        try:
            answers = self._write(ends)
        except AimqError as exc:
            if first:
                logger.warning("Outcomes wait to be stored: %s", exc.detail)
            with self._lock:
                self._pending[:0] = ends
            return
        for (work, disposition), answer in zip(ends, answers, strict=True):
            self._stored(work, disposition, answer)

    def _write(self, ends: Sequence[tuple[Work, Disposition]]) -> list[bool]:
        outcomes = [outcome(work.claim, disposition) for work, disposition in ends]
        webhooks = [
            work.webhook
            for (work, _), one in zip(ends, outcomes, strict=True)
            if one.status in FINAL and work.webhook
        ]
        try:
            if webhooks:
                self._store.create(webhooks)  # a second time after an outage: the first stays
            return self._store.settle(outcomes)
        except AimqError:
            raise
        except Exception:
            logger.exception("Outcomes could not be stored; their jobs are worked on again")
            return [False] * len(ends)
