"""Errors as problem documents (RFC 9457), one mapping for both services."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from aimq.errors import (
    AimqError,
    FieldError,
    InternalError,
    Invalid,
    RequestTimedOut,
    TransientError,
)

MEDIA_TYPE: Final = "application/problem+json"
#: A problem document as JSON Schema, for the OpenAPI documents.
SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}

#: Said of a bug of ours.
UNEXPECTED: Final = "Something went wrong on our side; the log has the details."
_WHEN: Final = {
    401: "An API key is needed.",
    408: "The body did not come in time.",
    413: "The body is over the limit.",
    422: "A field is wrong or missing; `errors` names each.",
    429: "Asked too often; `Retry-After` and `RateLimit-*` say when to try again.",
    503: "Overloaded, or something it needs is away; try again after `Retry-After`.",
    504: "No answer in time.",
}

#: Of transient errors that do not say it, in seconds.
_RETRY_AFTER: Final = 5.0

logger = logging.getLogger(__name__)


def document(error: AimqError) -> dict[str, object]:
    """Return the problem document of an error."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
    }
    if error.errors:
        body["errors"] = error.errors
    return body


def response(error: AimqError, headers: dict[str, str] | None = None) -> Response:
    """Return the error as an HTTP response; a transient one has ``Retry-After`` (whole seconds)."""
    extra = dict(headers or {})
    seconds = error.retry_after
    if seconds is None and isinstance(error, TransientError):
        seconds = _RETRY_AFTER
    if seconds is not None:
        extra.setdefault("Retry-After", str(max(1, math.ceil(seconds))))
    if isinstance(error, RequestTimedOut):
        extra["Connection"] = "close"  # the rest of the request would keep it open
    return Response(
        msgspec.json.encode(document(error)),
        status_code=error.status,
        media_type=MEDIA_TYPE,
        headers=extra,
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return error answers as a route's `responses` document them."""
    content = {MEDIA_TYPE: {"schema": SCHEMA}}
    return {
        status: {"description": _WHEN.get(status, HTTPStatus(status).phrase), "content": content}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document; never with a trace."""
    app.add_exception_handler(AimqError, _aimq)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _aimq(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, AimqError)  # noqa: S101 # registered for it
    if exc.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("%s %s: %s", request.method, request.url.path, exc.detail, exc_info=exc)
    return response(exc)


async def _validation(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)  # noqa: S101 # registered for it
    errors = [
        FieldError(field=".".join(map(str, item["loc"][1:])) or "body", message=item["msg"])
        for item in exc.errors()
    ]
    names = ", ".join(error["field"] for error in errors)
    return response(Invalid(f"Wrong or missing: {names}.", errors=errors))


async def _http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)  # noqa: S101 # registered for it
    body = {
        "type": "about:blank",
        "title": HTTPStatus(exc.status_code).phrase,
        "status": exc.status_code,
        "detail": f"{request.method} {request.url.path}: {exc.detail}",
    }
    return Response(
        msgspec.json.encode(body), exc.status_code, media_type=MEDIA_TYPE, headers=exc.headers
    )


async def _unexpected(request: Request, exc: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=exc)
    return response(InternalError(UNEXPECTED))
