"""``Idempotency-Key``: asking again with the same key gives the task of the first time.

Follows the IETF draft "The Idempotency-Key HTTP Header Field": a key that comes again with another
payload is refused with 422. Keys of different clients (API keys) and routes never meet.
"""

from __future__ import annotations

import hashlib
from typing import Final

from starlette.datastructures import Headers

from aimq.errors import FieldError, Invalid
from aimq.jobs.job import Job

HEADER: Final = "Idempotency-Key"
MAX_LENGTH: Final = 255


def storage_key(headers: Headers, path: str) -> str:
    """Return what the store knows a request's key by; "" when it has none.

    Raises:
        Invalid: the key is empty, too long, or not printable ASCII.
    """
    key = headers.get(HEADER)
    if key is None:
        return ""
    if not 0 < len(key) <= MAX_LENGTH or not key.isascii() or not key.isprintable():
        allowed = f"1 to {MAX_LENGTH} printable ASCII characters"
        raise Invalid(
            f"{HEADER} must be {allowed}.", errors=[FieldError(field=HEADER, message=allowed)]
        )
    scope = f"{path}\0{headers.get('x-api-key', '')}\0{key}"
    return hashlib.sha256(scope.encode("latin-1")).hexdigest()


def refuse_another_payload(asked: Job, made: Job) -> None:
    """Raise `Invalid` when the task that was made for the key is not the one now asked for."""
    if _payload(asked) != _payload(made):
        raise Invalid(
            f"This {HEADER} was used before for another request. Take a new one for every "
            "request, and the same only to repeat one.",
            errors=[FieldError(field=HEADER, message="was used for another request")],
        )


def _payload(task: Job) -> tuple[bytes, str, str]:
    return task.input, task.callback_url, task.model
