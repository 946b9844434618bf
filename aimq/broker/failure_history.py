"""Bounds of a stored failure, and the history that a replayed message carries. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from aimq.broker.port import DeadMessage, Failure

#: Longest texts, in characters. All headers of a RabbitMQ message share one frame of 128 KiB.
MAX_ERROR: Final = 2_000
MAX_TYPE: Final = 200
MAX_TRACEBACK: Final = 16_000
#: Entries of a history, and characters of the error in each.
MAX_HISTORY: Final = 10
MAX_HISTORY_ERROR: Final = 300

#: Consumers that may die with a message in a row before the broker itself dead-letters it. This
#: is a safety net: the batch processor counts crashes of a job and gives up much sooner.
DELIVERY_SAFETY_NET: Final = 50


def bounded(failure: Failure) -> Failure:
    """Return the failure with its texts cut, the traceback at its start, and encodable as UTF-8."""
    return Failure(
        error=_encodable(failure.error[:MAX_ERROR]),
        error_type=_encodable(failure.error_type[:MAX_TYPE]),
        traceback=_encodable(failure.traceback[-MAX_TRACEBACK:]),
        unprocessable=failure.unprocessable,
    )


def replayed_history(dead: DeadMessage) -> list[dict[str, object]]:
    """Return the history of `dead` with its last round added, oldest first.

    An entry has ``error``, ``error_type``, ``attempts``, ``first_failed_at``, ``last_failed_at``.
    """
    entry: dict[str, object] = {
        "error": dead.failure.error[:MAX_HISTORY_ERROR],
        "error_type": dead.failure.error_type,
        "attempts": dead.attempts,
        "first_failed_at": _text(dead.first_failed_at),
        "last_failed_at": _text(dead.last_failed_at),
    }
    return [*dead.history, entry][-MAX_HISTORY:]


def encode_history(history: list[dict[str, object]]) -> str:
    """Return a history as JSON."""
    return msgspec.json.encode(history).decode()


def decode_history(text: str | bytes | None) -> list[dict[str, object]]:
    """Return the history in a JSON text; an empty one if it cannot be read."""
    try:
        return msgspec.json.decode(text or "[]", type=list[dict[str, object]])
    except msgspec.DecodeError:
        return []


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
