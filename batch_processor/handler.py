"""What the consumer asks of whoever does the work, and what it gives them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aimq.jobs.job import Job
from aimq.jobs.port import Claim, JobStore


class Stopped(Exception):
    """Going on with the job is pointless: its claim is void, or the process is to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """What a job came to; files it made are in the file store already.

    Attributes:
        result: of a task, as JSON bytes.
        counts: row counts by field name: rows_total, rows_done, rows_failed.
    """

    result: bytes = b""
    model_versions: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Later:
    """It is too early for this job: it is handed back and comes again, with no attempt counted."""

    delay: float


class Work:
    """A claimed job while it is being worked on. Thread-safe."""

    def __init__(self, claim: Claim, store: JobStore) -> None:
        self.claim = claim
        self._store = store
        self._void = threading.Event()
        self._recalled = threading.Event()

    @property
    def job(self) -> Job:
        """The job as it was when it was claimed."""
        return self.claim.job

    @property
    def void(self) -> bool:
        """Tell whether the claim is lost: to another worker, a cancel or a delete."""
        return self._void.is_set()

    def lose(self) -> None:
        """Note that the claim is void."""
        self._void.set()

    def recall(self) -> None:
        """Ask for the job to be laid down: the process is to end."""
        self._recalled.set()

    def check(self) -> None:
        """Raise `Stopped` when going on is pointless; handlers call it between steps."""
        if self._void.is_set() or self._recalled.is_set():
            raise Stopped

    def progress(self, *, rows_total: int | None, rows_done: int, rows_failed: int) -> None:
        """Store row counts. Raises `Stopped` when the claim is void, and `StoreUnavailable`."""
        self.check()
        if not self._store.progress(
            self.claim, rows_total=rows_total, rows_done=rows_done, rows_failed=rows_failed
        ):
            self.lose()
            raise Stopped


#: How work on one job ended: what it came to, or what was raised.
Ending = Success | Later | BaseException


class Handler(Protocol):
    """Does the work of one kind of message, for one job or for many at once. Thread-safe."""

    @property
    def limit(self) -> int:
        """Most jobs taken at once."""
        ...

    def handle(self, works: Sequence[Work]) -> Sequence[Ending]:
        """Do the work; one ending per job, in order. What is raised is the ending of all."""
        ...


@dataclass(frozen=True, slots=True)
class OneByOne:
    """A `Handler` from a function that does one job and returns what it came to, or raises."""

    function: Callable[[Work], Success | Later]

    @property
    def limit(self) -> int:
        """One."""
        return 1

    def handle(self, works: Sequence[Work]) -> Sequence[Ending]:
        """Do the jobs one after the other."""
        return [self._one(work) for work in works]

    def _one(self, work: Work) -> Ending:
        try:
            return self.function(work)
        except BaseException as exc:  # noqa: BLE001 # the ending of this job, whatever it is
            return exc
