"""Answers of routes: as JSON, or as the ML service gave them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from fastapi.responses import Response

from aimq.ml_client.connection import MlAnswer

#: Headers of the ML service's answers that are meant for clients.
_PASSED_ON: Final = frozenset(
    {
        b"cache-control",
        b"content-security-policy",
        b"content-type",
        b"referrer-policy",
        b"retry-after",
        b"x-served-by",
        b"ratelimit",
        b"ratelimit-limit",
        b"ratelimit-policy",
        b"ratelimit-remaining",
        b"ratelimit-reset",
    }
)


def json_response(body: object, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as JSON, with status 200. Not the framework's: times are encoded as well."""
    return Response(msgspec.json.encode(body), media_type="application/json", headers=headers)


def relayed_response(answer: MlAnswer) -> Response:
    """Return an answer of the ML service with its status and the headers meant for clients."""
    response = Response(answer.body, answer.status)
    response.raw_headers.extend(header for header in answer.headers if header[0] in _PASSED_ON)
    return response
