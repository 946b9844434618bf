"""Writes outcomes to the store; one that cannot be written now is kept and written later."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aimq.errors import AimqError
from aimq.jobs.job import Job
from aimq.jobs.port import JobStore, Outcome
from batch_processor.handler import Work

#: Time between two tries while the store is away, in seconds.
_AGAIN_SECONDS: Final = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """An outcome and what follows once it is stored.

    Attributes:
        announcement: a job to be created before the outcome is written: a webhook.
        stored: called once the outcome is durable.
        void: called when the claim was lost, so that nothing was stored.
    """

    work: Work
    outcome: Outcome
    stored: Callable[[], object]
    void: Callable[[], object]
    announcement: Job | None = None


class Settling:
    """Settles claims, in the caller's thread while the store is there. Thread-safe.

    While it is away the messages stay held, so that prefetch bounds how much is kept.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: list[Settlement] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="settling", daemon=True)

    def start(self) -> None:
        """Start trying again what could not be written."""
        self._thread.start()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Write outcomes and follow up; returns at once when the store is away."""
        if not self._write(settlements):
            with self._lock:
                self._kept.extend(settlements)

    @property
    def kept(self) -> int:
        """Outcomes not written yet."""
        with self._lock:
            return len(self._kept)

    def close(self) -> None:
        """Try once more and stop. What is left then comes again: its messages were not settled.

        Idempotent.
        """
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self.try_again()

    def try_again(self) -> None:
        """Write what was kept, if the store is back."""
        with self._lock:
            kept, self._kept = self._kept, []
        if kept and not self._write(kept):
            with self._lock:
                self._kept[:0] = kept

    def _run(self) -> None:
        while not self._closed.wait(_AGAIN_SECONDS):
            try:
                self.try_again()
            except Exception:
                logger.exception("Outcomes could not be settled")

    def _write(self, settlements: Sequence[Settlement]) -> bool:
        try:
            if jobs := [one.announcement for one in settlements if one.announcement]:
                self._store.create(jobs)  # again after an outage: one of the same id stays
            answers = self._store.settle([settlement.outcome for settlement in settlements])
        except AimqError as exc:
            if not self.kept:
                logger.warning("Outcomes wait to be stored: %s", exc.detail)
            return False
        for settlement, stored in zip(settlements, answers, strict=True):
            if stored:
                settlement.stored()
            else:
                settlement.work.lose()
                settlement.void()
        return True
