"""What the routes answer beside their own results: JSON, errors, and their documentation."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi.responses import Response

from aimq.errors import AimqError, TransientError
from aimq.http.problems import MEDIA_TYPE, SCHEMA

#: For errors that do not say it, in seconds.
_RETRY_AFTER: Final = 5.0


def json_response(body: object, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as JSON with status 200."""
    return Response(msgspec.json.encode(body), media_type="application/json", headers=headers)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error answers: problem documents (RFC 9457)."""
    content = {MEDIA_TYPE: {"schema": SCHEMA}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def with_retry_after(error: AimqError) -> AimqError:
    """Return the error; a transient one with the seconds after which to try again."""
    if isinstance(error, TransientError) and error.retry_after is None:
        error.retry_after = _RETRY_AFTER
    return error
