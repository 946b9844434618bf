"""Messages on the wire: properties and headers, made and read. Pure.

Headers are read defensively, since anybody may put a message on a queue, and written anew each
time: the server's own (``x-death`` and its kin) are never copied, for with them it would take a
message that is retried again and again for one that goes round in a circle, and drop it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec
from pika import BasicProperties

from aimq.broker.failure_history import (
    ATTEMPTS,
    ERROR,
    ERROR_TYPE,
    FIRST_FAILED_AT,
    HISTORY,
    LAST_FAILED_AT,
    TRACEBACK,
    UNPROCESSABLE,
    bounded,
    decode_history,
    encode_history,
    replayed_history,
)
from aimq.broker.port import DeadMessage, Failure

DEAD_LETTER_ID: Final = "x-dead-letter-id"
DELIVERY_COUNT: Final = "x-delivery-count"
#: All headers travel in one frame (128 KiB by default); these leave ample room for the rest.
_TEXT_BYTES: Final = 24 * 1024
_HISTORY_BYTES: Final = 32 * 1024
_PERSISTENT: Final = 2
_GIVEN_UP: Final = Failure(
    error="Every worker that took this message died; it was given up so that the others go on.",
    error_type="WorkerDied",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What a message's headers tell of its past."""

    attempts: int = 0
    failure: Failure | None = None
    first_failed_at: datetime | None = None
    last_failed_at: datetime | None = None
    history: tuple[dict[str, object], ...] = ()

    def failed(self, failure: Failure, now: datetime) -> Trail:
        """Return the trail after one more failed attempt."""
        return replace(
            self,
            attempts=self.attempts + 1,
            failure=bounded(failure),
            first_failed_at=self.first_failed_at or now,
            last_failed_at=now,
        )


def read_trail(properties: BasicProperties) -> Trail:
    """Return what the headers tell; what makes no sense is as good as absent."""
    headers: Mapping[str, Any] = properties.headers or {}
    if not headers:
        return Trail()
    attempts = headers.get(ATTEMPTS)
    error = headers.get(ERROR)
    return Trail(
        attempts=attempts if isinstance(attempts, int) and attempts > 0 else 0,
        failure=None
        if error is None
        else Failure(
            error=_text(error),
            error_type=_text(headers.get(ERROR_TYPE)),
            traceback=_text(headers.get(TRACEBACK)),
            unprocessable=headers.get(UNPROCESSABLE) is True,
        ),
        first_failed_at=_moment(headers.get(FIRST_FAILED_AT)),
        last_failed_at=_moment(headers.get(LAST_FAILED_AT)),
        history=tuple(decode_history(_text(headers.get(HISTORY)))),
    )


def delivery_count(properties: BasicProperties) -> int:
    """Return how often the queue has delivered the message in vain, by its own count."""
    count = (properties.headers or {}).get(DELIVERY_COUNT)
    return count if isinstance(count, int) else 0


def properties_of(message_id: str, trail: Trail | None = None, **more: str) -> BasicProperties:
    """Return the properties of a message to be published: persistent JSON with its trail.

    Args:
        more: further headers, with ``_`` for ``-``.
    """
    headers: dict[str, object] = {} if trail is None else _headers(trail)
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    return BasicProperties(
        content_type="application/json",
        delivery_mode=_PERSISTENT,
        message_id=message_id or None,
        headers=headers or None,
    )


def dead_properties(message_id: str, trail: Trail) -> BasicProperties:
    """Return the properties of a dead letter, with an id of its own."""
    return properties_of(message_id, trail, x_dead_letter_id=uuid.uuid4().hex)


def read_dead_letter(queue: str, properties: BasicProperties, body: bytes) -> DeadMessage:
    """Return a message of a dead-letter queue.

    One that the server itself has put there has no id; its content serves as one. Twins then share
    it, and one of them is replayed or deleted at a time.
    """
    headers: Mapping[str, Any] = properties.headers or {}
    trail = read_trail(properties)
    message_id = message_id_of(properties)
    own_id = headers.get(DEAD_LETTER_ID)
    content = hashlib.sha256(message_id.encode() + b"\0" + body).hexdigest()[:32]
    given_up = not isinstance(own_id, str) or not own_id
    return DeadMessage(
        id=content if given_up else str(own_id),
        queue=queue,
        body=body,
        message_id=message_id,
        failure=_GIVEN_UP if given_up or trail.failure is None else trail.failure,
        attempts=trail.attempts + int(given_up),
        first_failed_at=trail.first_failed_at,
        last_failed_at=trail.last_failed_at,
        history=list(trail.history),
    )


def replay_properties(letter: DeadMessage) -> BasicProperties:
    """Return the properties with which a dead letter starts over."""
    return properties_of(letter.message_id, Trail(history=tuple(replayed_history(letter))))


def message_id_of(properties: BasicProperties) -> str:
    """Return the message's id, or "" for none."""
    return str(properties.message_id or "")


def _headers(trail: Trail) -> dict[str, object]:
    headers: dict[str, object] = {}
    if trail.attempts:
        headers[ATTEMPTS] = trail.attempts
    if trail.failure is not None:
        headers[ERROR] = _encodable(trail.failure.error)
        headers[ERROR_TYPE] = _encodable(trail.failure.error_type)
        if trail.failure.traceback:
            headers[TRACEBACK] = _end(trail.failure.traceback)
        if trail.failure.unprocessable:
            headers[UNPROCESSABLE] = True
    if trail.first_failed_at is not None:
        headers[FIRST_FAILED_AT] = trail.first_failed_at.isoformat()
    if trail.last_failed_at is not None:
        headers[LAST_FAILED_AT] = trail.last_failed_at.isoformat()
    if trail.history:
        headers[HISTORY] = _history(list(trail.history))
    return headers


def _history(history: list[dict[str, object]]) -> str:
    """Return the history as JSON, without its oldest entries where there is no room for all."""
    while history:
        text = encode_history(history)
        if len(text.encode()) <= _HISTORY_BYTES:
            return text
        del history[0]
    return "[]"


def _end(text: str) -> str:
    return text.encode(errors="replace")[-_TEXT_BYTES:].decode(errors="ignore")


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else ""


def _moment(value: object) -> datetime | None:
    try:
        moment = msgspec.convert(_text(value), datetime)
    except msgspec.ValidationError:
        return None
    return moment if moment.tzinfo else None
