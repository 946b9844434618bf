"""Signatures of webhooks, by the Standard Webhooks specification. Pure.

Three headers go with a body: ``webhook-id`` (the same for every attempt, so that a receiver can
recognise what it has already received), ``webhook-timestamp`` (seconds since 1970) and
``webhook-signature``: ``v1,`` and the base64 of HMAC-SHA256 over ``<id>.<timestamp>.<body>``. The
time is signed as well, so that a recorded request cannot be sent again later.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

_PREFIX: Final = "whsec_"
#: Oldest and youngest timestamp that is believed, in seconds from now.
TOLERANCE: Final = 300


def key_of(secret: str) -> bytes:
    """Return the key of a secret: base64 after ``whsec_``, else the text itself.

    Raises:
        ValueError: what follows ``whsec_`` is not base64.
    """
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as exc:
        raise ValueError(f"what follows {_PREFIX} is not base64") from exc


def signed_headers(secret: str, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a body."""
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": _signature(secret, webhook_id, str(timestamp), body),
    }


def is_genuine(
    secret: str, webhook_id: str, timestamp: str, signature: str, body: bytes, now: float
) -> bool:
    """True if the headers' values fit the body and the time; for receivers and tests.

    Args:
        signature: one or several, separated by blanks; one has to fit.
        now: seconds since 1970.
    """
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 20):  # noqa: PLR2004 # far beyond any date
        return False
    if abs(now - int(timestamp)) > TOLERANCE:
        return False
    expected = _signature(secret, webhook_id, timestamp, body).encode()
    return any([hmac.compare_digest(expected, given.encode()) for given in signature.split(" ")])  # noqa: C419 # all, always


def _signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    digest = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()
