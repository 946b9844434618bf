from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimq.errors import InternalError
from aimq.jobs.job import Job, Status
from aimq.jobs.redis.record import SUMMARY, from_hash, from_pairs, job_fields
from aimq.messages import Kind

COUNTS = st.integers(0, 2**40)
MOMENTS = st.datetimes(min_value=datetime(1971, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
TEXT = st.text(st.characters(exclude_categories=()))
JOBS = st.builds(
    Job,
    job_id=TEXT,
    kind=st.sampled_from(Kind),
    status=st.sampled_from(Status),
    filename=TEXT,
    model=TEXT,
    interval=st.integers(0, 99),
    rows_total=st.none() | COUNTS,
    rows_done=COUNTS,
    rows_failed=COUNTS,
    attempts=COUNTS,
    error=st.none() | TEXT.filter(bool),
    model_versions=st.dictionaries(st.text(), st.text()),
    created_at=MOMENTS,
    started_at=st.none() | MOMENTS,
    finished_at=st.none() | MOMENTS,
    input=st.binary(),
    result=st.binary(),
    published=st.booleans(),
    traceparent=TEXT,
    callback_url=TEXT,
    result_key=TEXT,
)


def as_stored(job):
    """What Redis answers: everything as bytes."""
    return [part if isinstance(part, bytes) else str(part).encode() for part in job_fields(job)]


@given(JOBS)
def test_a_record_is_read_as_it_was_written(job):
    assert from_pairs(job.job_id, as_stored(job)) == job


@given(JOBS)
def test_a_summary_is_all_but_input_and_result(job):
    stored = as_stored(job)
    fields = dict(zip(stored[::2], stored[1::2], strict=True))
    summary = from_hash(
        job.job_id, {name.encode(): fields[name.encode()] for name in SUMMARY
                     if name.encode() in fields}
    )  # fmt: skip
    plain = Job(**{**{name: getattr(job, name) for name in job.__struct_fields__},
                   "input": b"", "result": b""})  # fmt: skip
    assert summary == plain


def test_a_record_from_before_models_were_named_is_for_the_default():
    job = from_hash("id", {b"kind": b"spreadsheet", b"created_at": b"0"})
    assert (job.model, job.interval) == ("", 0)


def test_fields_of_another_purpose_are_passed_over():
    stored = {b"kind": b"factorial", b"created_at": b"0", b"token": b"t", b"later": b"x"}
    assert from_hash("id", stored).kind is Kind.FACTORIAL


@pytest.mark.parametrize(
    "damage",
    [{b"kind": b"other"}, {b"status": b"lost"}, {b"rows_done": b"many"}, {b"created_at": b""},
     {b"model_versions": b"["}, {b"filename": b"\xff"}],
)  # fmt: skip
def test_a_damaged_record_is_said_to_be_one(damage):
    with pytest.raises(InternalError, match="the record of job 'an id' is damaged"):
        from_hash("an id", {b"kind": b"factorial", **damage})
    with pytest.raises(InternalError):
        from_hash("an id", {b"status": b"queued"})
