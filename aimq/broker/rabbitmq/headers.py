"""Messages on the wire: properties and headers, written and read. Pure.

Headers are checked when read, since anybody may put a message on a queue, and written from nothing
each time: the server's own (``x-death`` and its kin) are never copied, because with them it takes a
message that is retried again and again for one that goes round in a circle, and drops it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from pika import BasicProperties

from aimq.broker.failure_history import bounded, decode_history, encode_history, replayed_history
from aimq.broker.port import DeadMessage, Failure

DEAD_LETTER_ID: Final = "x-dead-letter-id"
DELIVERY_COUNT: Final = "x-delivery-count"
_PERSISTENT: Final = 2
_GIVEN_UP: Final = Failure(
    error="Every worker that took this message died; it was given up so that the others go on.",
    error_type="WorkerDied",
)
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


def _header_name(field: str) -> str:
    return "x-" + field.replace("_", "-")


class FailureHistory(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_header_name
):
    """Our headers of a message: each field is one, ``x-first-failed-at`` for `first_failed_at`.

    Attributes:
        attempts: attempts that failed since the message was published or replayed.
        error, error_type, traceback, unprocessable: the last failure (`aimq.broker.port.Failure`).
        history: failures before the last replay, as JSON.
    """

    attempts: Annotated[int, msgspec.Meta(ge=0)] = 0
    error: str | None = None
    error_type: str = ""
    traceback: str = ""
    unprocessable: bool = False
    first_failed_at: _Moment | None = None
    last_failed_at: _Moment | None = None
    history: str = ""

    @property
    def failure(self) -> Failure | None:
        """The last failure; None before the first."""
        if self.error is None:
            return None
        return Failure(
            error=self.error,
            error_type=self.error_type,
            traceback=self.traceback,
            unprocessable=self.unprocessable,
        )

    def failed(self, failure: Failure, now: datetime) -> FailureHistory:
        """Return the history after one more failed attempt."""
        return msgspec.structs.replace(
            self,
            attempts=self.attempts + 1,
            first_failed_at=self.first_failed_at or now,
            last_failed_at=now,
            **dataclasses.asdict(bounded(failure)),
        )


_NONE: Final = FailureHistory()


def read_history(properties: BasicProperties) -> FailureHistory:
    """Return what our headers tell; headers that cannot be ours count as none."""
    if not properties.headers:
        return _NONE
    try:
        return msgspec.convert(properties.headers, FailureHistory)
    except msgspec.ValidationError:
        return _NONE


def delivery_count(properties: BasicProperties) -> int:
    """Return how often the queue has delivered the message in vain, by its own count."""
    count = (properties.headers or {}).get(DELIVERY_COUNT)
    return count if isinstance(count, int) else 0


def properties_of(message_id: str, history: FailureHistory = _NONE, **more: str) -> BasicProperties:
    """Return the properties of a message to be published: persistent JSON with its history.

    Args:
        more: further headers, named like the fields of `FailureHistory`.
    """
    headers: dict[str, Any] = msgspec.to_builtins(history)
    headers |= {_header_name(name): value for name, value in more.items()}
    return BasicProperties(
        content_type="application/json",
        delivery_mode=_PERSISTENT,
        message_id=message_id or None,
        headers=headers or None,
    )


def dead_properties(message_id: str, history: FailureHistory) -> BasicProperties:
    """Return the properties of a dead letter, with an id of its own."""
    return properties_of(message_id, history, dead_letter_id=uuid.uuid4().hex)


def replay_properties(dead: DeadMessage) -> BasicProperties:
    """Return the properties with which a dead letter starts over."""
    history = FailureHistory(history=encode_history(replayed_history(dead)))
    return properties_of(dead.message_id, history)


def read_dead_letter(queue: str, properties: BasicProperties, body: bytes) -> DeadMessage:
    """Return a message of a dead-letter queue.

    A message that the server itself has moved there has no id, so that a digest of its content is
    its id. Equal messages share it, and one of them is replayed or deleted at a time.
    """
    history = read_history(properties)
    message_id = message_id_of(properties)
    own_id = (properties.headers or {}).get(DEAD_LETTER_ID)
    given_up = not isinstance(own_id, str) or not own_id
    content = hashlib.sha256(message_id.encode() + b"\0" + body).hexdigest()[:32]
    return DeadMessage(
        id=content if given_up else str(own_id),
        queue=queue,
        body=body,
        message_id=message_id,
        failure=_GIVEN_UP if given_up else history.failure or _GIVEN_UP,
        attempts=history.attempts + int(given_up),
        first_failed_at=history.first_failed_at,
        last_failed_at=history.last_failed_at,
        history=decode_history(history.history),
    )


def message_id_of(properties: BasicProperties) -> str:
    """Return the message's id, "" for none."""
    return str(properties.message_id or "")
