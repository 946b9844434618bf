"""What every adapter keeps of failures: header names, bounds, history of replays. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from aimq.broker.port import DeadMessage, Failure

ERROR: Final = "x-error"
ERROR_TYPE: Final = "x-error-type"
TRACEBACK: Final = "x-traceback"
UNPROCESSABLE: Final = "x-unprocessable"
ATTEMPTS: Final = "x-attempts"
FIRST_FAILED_AT: Final = "x-first-failed-at"
LAST_FAILED_AT: Final = "x-last-failed-at"
HISTORY: Final = "x-history"

#: A broker bounds a message's headers (RabbitMQ: one frame, 128 KiB with all else).
MAX_ERROR: Final = 2_000
MAX_TYPE: Final = 200
MAX_TRACEBACK: Final = 16_000
MAX_HISTORY: Final = 10

#: Deliveries in a row that ended with the consumer's death before a broker gives a message up of
#: its own accord. Only a safety net: consumers count crashes per job, and give up much sooner.
DELIVERY_SAFETY_NET: Final = 50


def bounded(failure: Failure) -> Failure:
    """Return the failure with its texts cut to what a broker can carry; of a traceback, its end."""
    return Failure(
        error=failure.error[:MAX_ERROR],
        error_type=failure.error_type[:MAX_TYPE],
        traceback=failure.traceback[-MAX_TRACEBACK:],
        unprocessable=failure.unprocessable,
    )


def replayed_history(letter: DeadMessage) -> list[dict[str, object]]:
    """Return the history a replay of `letter` carries: what it had and this round, newest last.

    An entry has ``error``, ``error_type``, ``attempts``, ``first_failed_at``, ``last_failed_at``.
    """
    entry: dict[str, object] = {
        "error": letter.failure.error,
        "error_type": letter.failure.error_type,
        "attempts": letter.attempts,
        "first_failed_at": _text(letter.first_failed_at),
        "last_failed_at": _text(letter.last_failed_at),
    }
    return [*letter.history, entry][-MAX_HISTORY:]


def encode_history(history: list[dict[str, object]]) -> str:
    """Return a history as JSON."""
    return msgspec.json.encode(history).decode()


def decode_history(text: str | bytes | None) -> list[dict[str, object]]:
    """Read a history; one that cannot be read is as good as none."""
    if not text:
        return []
    try:
        return msgspec.json.decode(text, type=list[dict[str, object]])
    except msgspec.DecodeError:
        return []


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
