"""The queue message: JSON that names the work; stores hold the work itself.

Format (version 1)::

    {"schema": 1, "job_id": "…", "kind": "spreadsheet", "enqueued_at": "…", "traceparent": "…"}
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from aimq.errors import MessageRejected

SCHEMA_VERSION: Final = 1
#: A message only names its work: anything larger was not made by us.
MAX_BYTES: Final = 64 * 1024


class Kind(StrEnum):
    """What sort of work a message names."""

    SPREADSHEET = "spreadsheet"
    PREDICTION = "prediction"
    FACTORIAL = "factorial"
    WEBHOOK = "webhook"
    TRAINING = "training"


class Message(msgspec.Struct, frozen=True, kw_only=True, rename={"version": "schema"}):
    """One unit of work. ``job_id`` is also the broker's ``message_id``."""

    job_id: str
    kind: Kind
    version: int = SCHEMA_VERSION
    enqueued_at: str = msgspec.field(default_factory=lambda: datetime.now(UTC).isoformat())
    traceparent: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return the message as JSON bytes."""
    return _encoder.encode(message)


def decode(body: bytes) -> Message:
    """Read a message.

    Raises:
        MessageRejected: not JSON, another version, an unknown kind, a field missing, or too large.
    """
    if len(body) > MAX_BYTES:
        raise MessageRejected(f"message of {len(body):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        message = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise MessageRejected(f"message cannot be read: {exc}") from exc
    if message.version != SCHEMA_VERSION:
        raise MessageRejected(
            f"message has schema {message.version}; {SCHEMA_VERSION} is understood"
        )
    if not message.job_id:
        raise MessageRejected("message names no job")
    return message
