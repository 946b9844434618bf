from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from aimq.broker.failure_history import (
    MAX_ERROR,
    MAX_HISTORY,
    MAX_TRACEBACK,
    bounded,
    decode_history,
    encode_history,
    replayed_history,
)
from aimq.broker.port import DeadMessage, Failure

WHEN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def letter(history=()):
    return DeadMessage(
        id="1",
        queue="q",
        body=b"",
        message_id="",
        failure=Failure(error="no answer", error_type="TimedOut"),
        attempts=5,
        first_failed_at=WHEN,
        last_failed_at=None,
        history=list(history),
    )


@given(st.text(max_size=4000), st.text(max_size=40_000), st.booleans())
def test_a_failure_keeps_the_start_of_its_error_and_the_end_of_its_traceback(error, trace, fault):
    given_failure = Failure(error=error, error_type="E", traceback=trace, unprocessable=fault)

    kept = bounded(given_failure)

    assert kept.error == error[:MAX_ERROR]
    assert trace.endswith(kept.traceback)
    assert len(kept.traceback) == min(len(trace), MAX_TRACEBACK)
    assert (kept.error_type, kept.unprocessable) == ("E", fault)


def test_a_replay_adds_its_round_to_the_history():
    earlier = {"error": "earlier"}

    assert replayed_history(letter([earlier])) == [
        earlier,
        {
            "error": "no answer",
            "error_type": "TimedOut",
            "attempts": 5,
            "first_failed_at": WHEN.isoformat(),
            "last_failed_at": None,
        },
    ]


def test_a_long_history_loses_its_oldest_rounds():
    rounds = [{"error": str(n)} for n in range(MAX_HISTORY)]

    assert replayed_history(letter(rounds))[:-1] == rounds[1:]


def test_a_history_survives_its_encoding():
    history = replayed_history(letter())

    assert decode_history(encode_history(history)) == history


def test_a_history_that_cannot_be_read_is_as_good_as_none():
    assert decode_history(None) == []
    assert decode_history("{") == []
    assert decode_history(b"[1]") == []
