"""What becomes of a message, for every error there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimq import errors
from aimq.backoff import RetryPolicy
from aimq.errors import AimqError
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Refusal, Refused
from aimq.messages import Kind
from batch_processor import disposition
from batch_processor.disposition import Ack, DeadLetter, Defer, Retry

POLICY = RetryPolicy(max_attempts=5, base_seconds=1.0, max_seconds=60.0)


def tree(root=AimqError):
    return [root, *(kind for child in root.__subclasses__() for kind in tree(child))]


OURS = [kind for kind in tree() if kind.__module__ == errors.__name__]
TRANSIENT = [kind for kind in OURS if kind.retryable]
PERMANENT = [kind for kind in OURS if not kind.retryable]
BUGS = [ValueError, KeyError, MemoryError, RecursionError, SystemExit, KeyboardInterrupt]
AWAY = [errors.MlUnavailable, errors.StoreUnavailable, errors.FilesUnavailable,
        errors.BrokerUnavailable, errors.Overloaded, errors.RateLimited]  # fmt: skip

uniform = st.floats(0, 1, exclude_max=True)
attempts = st.integers(0, 50)


def decide(error, failed=0, draw=0.5, since_first=0.0):
    return disposition.on_error(error, failed, POLICY, lambda: draw, since_first)


@given(st.sampled_from(PERMANENT), attempts, uniform)
def test_a_permanent_error_is_dead_lettered_at_once_in_its_own_words(kind, failed, draw):
    decided = decide(kind("Add the column doors."), failed, draw)
    assert isinstance(decided, DeadLetter)
    assert decided.failure.error == "Add the column doors."
    assert decided.failure.error_type == kind.__name__
    assert not decided.failure.unprocessable


@given(st.sampled_from(TRANSIENT), st.integers(0, 3), uniform)
def test_a_transient_error_is_retried_within_the_policys_delays(kind, failed, draw):
    decided = decide(kind("away"), failed, draw)
    assert isinstance(decided, Retry)
    nominal = POLICY.nominal(failed + 1)
    assert nominal / 2 <= decided.delay <= nominal


@given(st.sampled_from([*TRANSIENT, *BUGS]), st.integers(4, 50), uniform)
def test_out_of_attempts_means_a_dead_letter_with_the_number_of_attempts(kind, failed, draw):
    decided = decide(kind("x"), failed, draw, since_first=1e6)
    assert isinstance(decided, DeadLetter)
    assert f"after {failed + 1} attempts" in decided.failure.error


@given(st.sampled_from(AWAY), attempts, st.floats(0, 299))
def test_a_service_that_is_away_or_busy_for_a_short_time_fails_no_message(
    kind, failed, since_first
):
    assert isinstance(decide(kind("away"), failed, since_first=since_first), Retry)


@given(st.sampled_from(BUGS), st.integers(0, 3))
def test_a_bug_is_retried_and_the_person_is_told_no_details_of_it(kind, failed):
    decided = decide(kind("secret"), failed)
    assert isinstance(decided, Retry)
    assert "secret" not in decided.failure.error
    assert "secret" in decided.failure.traceback
    assert decided.failure.error_type == kind.__name__


@given(st.floats(0, 1e9), st.integers(0, 3), uniform)
def test_retry_after_is_honoured_up_to_the_longest_delay(seconds, failed, draw):
    decided = decide(errors.RateLimited("slow down", retry_after=seconds), failed, draw)
    assert min(seconds, POLICY.max_seconds) <= decided.delay <= POLICY.max_seconds


@given(st.text(max_size=20_000))
def test_what_travels_in_headers_is_bounded(text):
    failure = decide(errors.Invalid(text)).failure
    assert len(failure.error) <= disposition.MAX_ERROR
    assert len(failure.traceback) <= disposition.MAX_TRACEBACK


@given(st.integers(0, 20), st.integers(1, 10))
def test_a_job_is_given_up_exactly_from_the_limit_of_crashes_on(crashes, limit):
    decided = disposition.on_crashes(crashes, limit)
    assert isinstance(decided, DeadLetter) == (crashes >= limit)


@given(st.floats(0, 1000))
def test_a_held_job_is_looked_at_again_after_the_lease(retry_in):
    decided = disposition.on_refusal(
        Refused(job_id="j", reason=Refusal.HELD, retry_in=retry_in), None
    )
    assert isinstance(decided, Defer)
    assert decided.delay > retry_in


def test_a_message_of_an_unknown_job_is_unprocessable():
    decided = disposition.on_refusal(Refused(job_id="gone", reason=Refusal.UNKNOWN), None)
    assert isinstance(decided, DeadLetter)
    assert decided.failure.unprocessable
    assert "gone" in decided.failure.error


@pytest.mark.parametrize("status", [Status.DONE, Status.CANCELLED])
def test_a_message_of_a_job_that_has_ended_is_acked(status):
    job = Job(kind=Kind.SPREADSHEET, status=status)
    refused = Refused(job_id=job.job_id, reason=Refusal.FINAL)
    assert disposition.on_refusal(refused, job) == Ack()


def test_a_message_of_a_deleted_job_is_acked():
    refused = Refused(job_id="deleted", reason=Refusal.FINAL)
    assert disposition.on_refusal(refused, None) == Ack()


def test_a_message_of_a_failed_job_goes_to_the_dead_letters_with_the_jobs_error():
    job = Job(kind=Kind.SPREADSHEET, status=Status.FAILED, error="No column doors.")
    decided = disposition.on_refusal(Refused(job_id=job.job_id, reason=Refusal.FINAL), job)
    assert isinstance(decided, DeadLetter)
    assert decided.failure.error == "No column doors."
