import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimq.errors import MessageRejected
from aimq.messages import MAX_BYTES, Kind, Message, decode, encode


@given(st.text(min_size=1, max_size=50), st.sampled_from(Kind), st.text(max_size=80))
def test_a_message_survives_the_wire(job_id, kind, trace):
    message = Message(job_id=job_id, kind=kind, traceparent=trace)
    assert decode(encode(message)) == message


def test_the_wire_form_is_the_documented_one():
    body = json.loads(encode(Message(job_id="a", kind=Kind.SPREADSHEET)))
    assert body["schema"] == 1
    assert body["job_id"] == "a"
    assert body["kind"] == "spreadsheet"
    assert "enqueued_at" in body


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_are_rejected(body):
    with contextlib.suppress(MessageRejected):
        assert decode(body).job_id


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "cannot be read"),
        (b"not json", "cannot be read"),
        (b"[]", "cannot be read"),
        (b'{"kind":"spreadsheet"}', "job_id"),
        (b'{"job_id":"a","kind":"poem"}', "poem"),
        (b'{"job_id":"","kind":"spreadsheet"}', "names no job"),
        (b'{"job_id":"a","kind":"spreadsheet","schema":2}', "schema 2"),
        (b'{"job_id":5,"kind":"spreadsheet"}', "job_id"),
        pytest.param(b"[" * 50_000, "cannot be read", id="nested"),
        pytest.param(b" " * (MAX_BYTES + 1), "bytes", id="large"),
    ],
)
def test_a_message_nobody_can_process_says_why(body, reason):
    with pytest.raises(MessageRejected, match=reason):
        decode(body)
