from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given
from pika import BasicProperties

from aimq.broker.failure_history import decode_history
from aimq.broker.port import Failure
from aimq.broker.rabbitmq.headers import (
    FailureHistory,
    dead_properties,
    properties_of,
    read_dead_letter,
    read_history,
    replay_properties,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAILURE = Failure(error="no answer", error_type="TimedOut", traceback="line 1")
FRAME_BYTES = 128 * 1024


def wire(properties):
    """Return what arrives of what is sent."""
    arrived = BasicProperties()
    arrived.decode(b"".join(properties.encode()))
    return arrived


@given(
    attempts=st.integers(0, 1000),
    error=st.text(max_size=50),
    unprocessable=st.booleans(),
    first=st.none() | st.datetimes(timezones=st.just(UTC)),
)
def test_a_failure_history_survives_the_wire(attempts, error, unprocessable, first):
    history = FailureHistory(
        attempts=attempts,
        error=error,
        error_type="X",
        unprocessable=unprocessable,
        first_failed_at=first,
        history='[{"error": "before", "attempts": 3}]',
    )
    assert read_history(wire(properties_of("id", history))) == history


def test_a_fresh_message_has_no_headers():
    assert properties_of("id").headers is None
    assert read_history(wire(properties_of("id"))) == FailureHistory()


def test_each_failure_counts_one_and_keeps_the_first_time():
    later = NOW + timedelta(seconds=5)
    history = FailureHistory().failed(FAILURE, NOW).failed(FAILURE, later)
    assert (history.attempts, history.first_failed_at, history.last_failed_at) == (2, NOW, later)


@given(
    headers=st.dictionaries(
        st.sampled_from(
            ["x-attempts", "x-error", "x-error-type", "x-history", "x-first-failed-at",
             "x-last-failed-at", "x-traceback", "x-unprocessable", "x-dead-letter-id"]
        ),
        st.none() | st.integers() | st.text() | st.binary() | st.booleans() | st.lists(st.none()),
    )
)  # fmt: skip
def test_any_headers_can_be_read(headers):
    properties = BasicProperties(headers=headers)
    assert read_history(properties).attempts >= 0
    assert read_dead_letter("q", properties, b"x").id


@pytest.mark.parametrize("letter", ["a", "é", "✓", "\U0001f600", '"', "\x00", "\ud800"])
def test_the_longest_headers_fit_one_frame(letter):
    failure = Failure(error=letter * 10**6, error_type=letter * 10**6, traceback=letter * 10**6)
    properties = dead_properties("i" * 255, FailureHistory().failed(failure, NOW))
    for _ in range(20):  # each round adds to the history
        replayed = replay_properties(read_dead_letter("q", wire(properties), b""))
        properties = dead_properties("i" * 255, read_history(replayed).failed(failure, NOW))

    assert len(b"".join(properties.encode())) < FRAME_BYTES
    assert read_history(wire(properties)).history


def test_a_replay_starts_over_with_its_history():
    properties = dead_properties("id", FailureHistory().failed(FAILURE, NOW))
    letter = read_dead_letter("q", wire(properties), b"{}")

    history = read_history(wire(replay_properties(letter)))

    assert (history.attempts, history.failure, history.first_failed_at) == (0, None, None)
    assert [entry["error"] for entry in decode_history(history.history)] == ["no answer"]


def test_what_the_server_gave_up_gets_a_stable_id_and_a_reason():
    properties = BasicProperties(message_id="job", headers={"x-death": [], "x-attempts": 2})
    one, again = (read_dead_letter("q", properties, b"{}") for _ in range(2))

    assert one.id == again.id != read_dead_letter("q", properties, b"[]").id
    assert one.failure.error_type == "WorkerDied"
    assert one.attempts == 3
