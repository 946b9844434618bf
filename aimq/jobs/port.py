"""The JobStore port: what is known of every job, with claims that make handling twice safe.

All methods are thread-safe, block on the network or the disk (never call them on an event loop),
and raise `StoreUnavailable` when the store cannot be reached; what they wrote is durable when they
return. The methods of the hot path take several jobs at once and cost one round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from aimq.jobs.job import Job, Status


class Refusal(Enum):
    """Why a job could not be claimed."""

    UNKNOWN = "unknown"
    """No such job: never made, or expired. The message cannot be worked on."""
    FINAL = "final"
    """Done, failed, cancelled or deleted already. The message has nothing left to do."""
    HELD = "held"
    """Another worker's claim has not run out. Come back later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The exclusive right to work on a job until its lease runs out.

    Attributes:
        job: the job as of now, status processing.
        token: proves the claim; a later claim of the job makes it void.
        crashes: earlier claims that ended with their worker's death, neither finished nor
            released, since the job was made or last replayed.
    """

    job: Job
    token: str
    crashes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A claim that was not given.

    Attributes:
        retry_in: seconds until the present claim's lease runs out; 0 unless `reason` is HELD.
    """

    job_id: str
    reason: Refusal
    retry_in: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How work on a claimed job ended, or goes on later.

    Attributes:
        status: DONE, FAILED, RETRYING (another attempt will come) or QUEUED (handed back).
        result_key: key of the file that holds the result, when it is done and there is one. The
            key has the claim's token in it, so that no other claim writes there.
        model: the model that was chosen during the work; empty leaves the job's as it is.
        counts: changed row counts by field name: rows_total, rows_done, rows_failed.
    """

    claim: Claim
    status: Status
    error: str | None = None
    result: bytes = b""
    result_key: str = ""
    model: str = ""
    model_versions: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


class JobStore(Protocol):
    """Durable job records. Records expire `ttl` seconds after they were made (a setting)."""

    def create(self, jobs: Sequence[Job], idempotency_keys: Sequence[str] = ()) -> list[Job]:
        """Store new jobs and return them, in order.

        `idempotency_keys` is empty or has one entry per job, "" for none. A job whose key was
        used before is not stored: the job made then is returned in its place.
        """
        ...

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None when the id is unknown, malformed or expired."""
        ...

    def recent(self, limit: int = 50, status: Status | None = None) -> list[Job]:
        """Return jobs, newest first, without their `input` and `result`."""
        ...

    def mark_published(self, job_ids: Sequence[str]) -> None:
        """Note that the broker has confirmed the messages. Unknown ids are passed over."""
        ...

    def take_unpublished(self, older_than: float, lease: float, limit: int = 100) -> list[Job]:
        """Return queued jobs, made more than `older_than` seconds ago, whose message was never
        confirmed, and keep every other caller from getting them for `lease` seconds.
        """
        ...

    def claim(self, job_ids: Sequence[str], owner: str, lease: float) -> list[Claim | Refused]:
        """Try to begin work on jobs; one answer per id, in order.

        A claim sets status processing, counts an attempt, and holds for `lease` seconds unless
        renewed. Of concurrent callers one gets it. A job cancelled or deleted while queued is
        FINAL.
        """
        ...

    def renew(self, claims: Sequence[Claim], lease: float) -> list[bool]:
        """Hold claims for `lease` more seconds. False: void (the job was claimed again, deleted or
        cancelled), so that going on is pointless.
        """
        ...

    def progress(
        self, claim: Claim, *, rows_total: int | None, rows_done: int, rows_failed: int
    ) -> bool:
        """Store row counts. False, with nothing stored: the claim is void."""
        ...

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """End claims with their outcomes; one answer per outcome, in order.

        False, with nothing stored: the claim is void. DONE and FAILED set `finished_at`.
        RETRYING and QUEUED free the job for the next claim at once. A settled claim does not
        count as a crash.
        """
        ...

    def fail(self, job_id: str, error: str) -> Job | None:
        """Set a job that is not final to failed, and void its claim if it has one.

        Returns the job as it then is, or None when unknown.
        """
        ...

    def cancel(self, job_id: str) -> Job | None:
        """Set a job that is not final to cancelled, and void its claim. None when unknown."""
        ...

    def requeue(self, job_id: str) -> Job | None:
        """Set a failed job to queued for a replay: attempts 0, crashes 0, error and finish time
        gone, published. Any other status stays as it is. None when unknown.
        """
        ...

    def delete(self, job_id: str) -> bool:
        """Forget a job. False when unknown.

        Until the job would have expired, its id is remembered, and nothing else of it: a message
        still under way is then told from one of a job that never was (see `claim`).
        """
        ...

    def delete_all(self, job_ids: Sequence[str]) -> None:
        """Forget many jobs that have expired; unknown ids are passed over. A loss of power may undo
        it: they are deleted again then.
        """
        ...

    def take_expired(self, lease: float, limit: int = 100) -> list[str]:
        """Return ids of jobs past their time, whose files are to be deleted and which are then
        to be `delete`d; every other caller is kept from getting them for `lease` seconds.
        """
        ...

    def watch(self, listener: Callable[[Job], None]) -> Callable[[], None]:
        """Call `listener` with a job (without `input` and `result`) soon after each change of it
        by any process; changes in quick succession may come as one, the last always comes.

        The listener is called on a thread of the store's and must return at once. Does not fail
        while the server is away: missed changes are made up for after a reconnect. Returns a
        function that ends the watch.
        """
        ...

    def check(self) -> None:
        """Raise `StoreUnavailable`, with one clear line, unless the store can be written now."""
        ...

    def close(self) -> None:
        """End watches and connections. Idempotent."""
        ...
