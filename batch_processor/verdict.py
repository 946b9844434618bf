"""What becomes of a message: pure policy, without a queue, a store or a clock.

====================================  =======================================================
what happened                         verdict
====================================  =======================================================
work done                             job done; message forgotten
retryable `AimqError`                 job retrying, message later again; when out of attempts:
                                      job failed, dead letter
a service cannot be reached, or       as above, but attempts run out only once that has lasted for
says "not now" (429, 503)             long: it says nothing of the message
any other `AimqError`                 job failed, dead letter at once
any other exception (a bug of ours)   as if retryable: it may have been a passing condition
job killed its worker too often       job failed, dead letter
message unreadable                    dead letter, unprocessable
job never made, or expired            dead letter, unprocessable
job failed already                    dead letter: whoever failed it died before moving the message
job done, cancelled or deleted        message forgotten
job held by another worker            message later again, uncounted
====================================  =======================================================
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aimq.backoff import RetryPolicy
from aimq.broker.port import Failure
from aimq.errors import (
    AimqError,
    BrokerUnavailable,
    FilesUnavailable,
    MlUnavailable,
    Overloaded,
    RateLimited,
    StoreUnavailable,
)
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, Refusal, Refused

#: Longest traceback and message kept with a failure, in characters: they travel in headers.
MAX_TRACEBACK: Final = 8_000
MAX_ERROR: Final = 2_000
#: A service that is away is waited for so many times the longest delay.
OUTAGE_DELAYS: Final = 5
#: The last two belong here: the attempts that an outage has used up must not be missing in the rush
#: that comes after it, when the service loads its models and then sheds load.
_OUTAGES: Final = (
    MlUnavailable,
    StoreUnavailable,
    FilesUnavailable,
    BrokerUnavailable,
    Overloaded,
    RateLimited,
)
#: Waited on top of a lease, in seconds, so that it has run out for certain.
LEASE_MARGIN: Final = 0.1


@dataclass(frozen=True, slots=True)
class Forget:
    """The message has nothing left to do."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Deliver it again after `delay` seconds; no attempt is counted."""

    delay: float


@dataclass(frozen=True, slots=True)
class Retry:
    """Deliver it again after `delay` seconds; the attempt failed."""

    delay: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Move it to the dead letters."""

    failure: Failure


def on_error(
    error: BaseException,
    attempts: int,
    policy: RetryPolicy,
    uniform: Callable[[], float],
    since_first: float = 0.0,
) -> Retry | GiveUp:
    """Decide on an attempt that raised.

    Args:
        attempts: attempts that failed before this one.
        since_first: seconds since the first attempt failed.
        uniform: returns a number in [0, 1), for the jitter.
    """
    failed = attempts + 1
    ours = isinstance(error, AimqError)
    if isinstance(error, AimqError) and not error.retryable:
        return GiveUp(failure_of(error, error.detail))
    said = (
        error.detail
        if isinstance(error, AimqError)
        else f"Something went wrong on our side ({type(error).__name__})."
    )
    waiting = isinstance(error, _OUTAGES) and since_first < OUTAGE_DELAYS * policy.max_seconds
    if policy.exhausted(failed) and not waiting:
        advice = (
            "Try again once the cause is gone: replay the dead letter or upload it again."
            if ours
            else "The dead letter has the details for the operator, who can replay it."
        )
        return GiveUp(failure_of(error, f"{said} Given up after {failed} attempts. {advice}"))
    retry_after = error.retry_after if isinstance(error, AimqError) else None
    return Retry(policy.delay(failed, uniform, retry_after), failure_of(error, said))


def on_crashes(claim: Claim, limit: int) -> GiveUp | None:
    """Decide on a job some of whose claims ended with their worker's death."""
    if claim.crashes < limit:
        return None
    return GiveUp(
        Failure(
            error=(
                f"Processing ended {claim.crashes} times with the death of its worker, perhaps "
                "for want of memory. Split it into smaller parts, or ask the operator to look "
                "at the dead letter."
            ),
            error_type="WorkerDied",
        )
    )


def on_refusal(refused: Refused, job: Job | None) -> Forget | Defer | GiveUp:
    """Decide on a message whose job could not be claimed.

    Args:
        job: as the store has it now, None if it was deleted; needed when the reason is FINAL.
    """
    if refused.reason is Refusal.HELD:
        return Defer(refused.retry_in + LEASE_MARGIN)
    if refused.reason is Refusal.UNKNOWN:
        return GiveUp(
            Failure(
                error=f"There is no job {refused.job_id[:64]!r}: it has expired, or never was.",
                error_type="UnknownJob",
                unprocessable=True,
            )
        )
    if job is not None and job.status is Status.FAILED:
        return GiveUp(Failure(error=job.error or "The job failed.", error_type="AlreadyFailed"))
    return Forget()


def failure_of(error: BaseException, said: str) -> Failure:
    """Return why an attempt failed, short enough for headers.

    Args:
        said: what a person is told.
    """
    trace = "".join(traceback.format_exception(error))
    return Failure(
        error=said[:MAX_ERROR], error_type=type(error).__name__, traceback=trace[-MAX_TRACEBACK:]
    )
