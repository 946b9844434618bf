"""What becomes of a message and of its job: pure decisions, without a queue, a store or a clock.

====================================  ====================================================
what happened                         disposition
====================================  ====================================================
work done                             Ack; job done
`Stopped`                             Requeue; job queued
retryable `AimqError`                 Retry; job retrying. Out of attempts: as permanent
a service cannot be reached, or says  as above, but attempts run out only once that has
"not now" (429, 503)                  lasted for long: it says nothing about the message
any other `AimqError`                 DeadLetter; job failed
any other exception (a bug of ours)   as if retryable: it may have been a passing condition
job crashed its worker too often      DeadLetter; job failed
handler says "too early"              Defer; job queued
message unreadable                    DeadLetter, unprocessable
job never made, or expired            DeadLetter, unprocessable
job failed already                    DeadLetter: its worker died before it moved the message
job done, cancelled or deleted        Ack
job held by another worker            Defer
====================================  ====================================================
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from aimq import errors
from aimq.backoff import RetryPolicy
from aimq.broker.port import Failure
from aimq.errors import AimqError, MessageRejected
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, Outcome, Refusal, Refused

#: Longest traceback and message kept with a failure, in characters: they travel in headers.
MAX_TRACEBACK: Final = 8_000
MAX_ERROR: Final = 2_000
#: A service that is away is waited for this many times the longest delay.
OUTAGE_DELAYS: Final = 5
#: The last two belong here: after an outage the service loads its models and sheds load, when the
#: outage has used up the attempts already.
_OUTAGES: Final = (
    errors.MlUnavailable,
    errors.StoreUnavailable,
    errors.FilesUnavailable,
    errors.BrokerUnavailable,
    errors.Overloaded,
    errors.RateLimited,
)
#: Added to what is left of a lease, in seconds, so that it has run out for certain.
LEASE_MARGIN: Final = 0.1


class Stopped(Exception):
    """Further work on a job is pointless: its claim is void, or the process stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """The work is done; files that it made are in the file store already.

    Attributes:
        result: of a task, as JSON bytes; of a spreadsheet its notes.
        result_key: key of the file with the result, if there is one.
        model: the model that was chosen during the work, if one was.
        counts: row counts by field name: rows_total, rows_done, rows_failed.
    """

    result: bytes = b""
    result_key: str = ""
    model: str = ""
    model_versions: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retry:
    """Deliver it again after `delay` seconds; the attempt failed."""

    delay: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class Defer:
    """Deliver it again after `delay` seconds; no attempt is counted."""

    delay: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Move it to the dead letters."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Requeue:
    """Put it back for any consumer, at once; no attempt is counted."""


Disposition = Ack | Retry | Defer | DeadLetter | Requeue


def on_error(
    error: BaseException,
    attempts: int,
    policy: RetryPolicy,
    uniform: Callable[[], float],
    since_first: float = 0.0,
) -> Retry | DeadLetter | Requeue:
    """Decide on an attempt that raised.

    Args:
        attempts: attempts that failed before this one.
        since_first: seconds since the first attempt failed.
        uniform: returns a number in [0, 1), for the jitter.
    """
    if isinstance(error, Stopped):
        return Requeue()
    if not isinstance(error, AimqError):
        said = f"Something went wrong on our side ({type(error).__name__})."
        advice = "The dead letter has the details for the operator, who can replay it."
    elif error.retryable:
        said = error.detail
        advice = "Try again once the cause is gone: replay the dead letter or upload it again."
    else:
        return DeadLetter(_failure(error, error.detail))
    failed = attempts + 1
    waits = isinstance(error, _OUTAGES) and since_first < OUTAGE_DELAYS * policy.max_seconds
    if policy.exhausted(failed) and not waits:
        return DeadLetter(_failure(error, f"{said} Given up after {failed} attempts. {advice}"))
    retry_after = error.retry_after if isinstance(error, AimqError) else None
    return Retry(policy.delay(failed, uniform, retry_after), _failure(error, said))


def on_crashes(crashes: int, limit: int) -> DeadLetter | None:
    """Decide on a job `crashes` of whose claims ended with their worker's death."""
    if crashes < limit:
        return None
    return DeadLetter(
        Failure(
            error=(
                f"Processing ended {crashes} times with the death of its worker, perhaps "
                "for want of memory. Split it into smaller parts, or ask the operator to look "
                "at the dead letter."
            ),
            error_type="WorkerDied",
        )
    )


def on_refusal(refused: Refused, job: Job | None) -> Ack | Defer | DeadLetter:
    """Decide on a message whose job could not be claimed.

    Args:
        job: as the store has it now, None if it was deleted; needed when the reason is FINAL.
    """
    if refused.reason is Refusal.HELD:
        return Defer(refused.retry_in + LEASE_MARGIN)
    if refused.reason is Refusal.UNKNOWN:
        return DeadLetter(
            Failure(
                error=f"There is no job {refused.job_id[:64]!r}: it has expired, or never was.",
                error_type="UnknownJob",
                unprocessable=True,
            )
        )
    if job is not None and job.status is Status.FAILED:
        return DeadLetter(Failure(error=job.error or "The job failed.", error_type="AlreadyFailed"))
    return Ack()


def on_rejection(error: MessageRejected) -> DeadLetter:
    """Decide on a message that nobody can process."""
    return DeadLetter(replace(_failure(error, error.detail), unprocessable=True))


def outcome(claim: Claim, disposition: Disposition) -> Outcome:
    """Return what a disposition means for the claimed job."""
    match disposition:
        case Ack():
            return Outcome(
                claim=claim,
                status=Status.DONE,
                result=disposition.result,
                result_key=disposition.result_key,
                model=disposition.model,
                model_versions=disposition.model_versions,
                counts=disposition.counts,
            )
        case Retry(failure=failure):
            return Outcome(claim=claim, status=Status.RETRYING, error=failure.error)
        case DeadLetter(failure=failure):
            return Outcome(claim=claim, status=Status.FAILED, error=failure.error)
        case Defer() | Requeue():
            return Outcome(claim=claim, status=Status.QUEUED)


def _failure(error: BaseException, said: str) -> Failure:
    """Return why an attempt failed, short enough for headers; `said` is for a person."""
    trace = "".join(traceback.format_exception(error))
    return Failure(
        error=said[:MAX_ERROR], error_type=type(error).__name__, traceback=trace[-MAX_TRACEBACK:]
    )
