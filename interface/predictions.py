"""``POST /predict``: relayed to the ML service as it came, and its answer likewise.

The service that knows the model checks the record.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from aimq import telemetry
from aimq.errors import AimqError, Disconnected, Invalid
from aimq.http.bodies import read_body
from aimq.http.documentation import API_KEY
from aimq.http.problems import documented
from interface.context import Context
from interface.record_schemas import PREDICTION, RECORD, json_body

#: Largest record, in bytes: many times a usual one.
MAX_RECORD_BYTES: Final = 16 * 1024
_ML_PATH: Final = b"/predict/onnx"
_BLANKS: Final = b" \t\r\n"
_CONTENT_TYPE: Final = (b"content-type", b"application/json")
#: Headers of the ML service's answer that are meant for clients.
_PASSED_ON: Final = frozenset(
    {
        b"content-type",
        b"retry-after",
        b"x-served-by",
        b"ratelimit",
        b"ratelimit-limit",
        b"ratelimit-policy",
        b"ratelimit-remaining",
        b"ratelimit-reset",
    }
)


class DirectRoute(APIRoute):
    """A route whose function gets the request and returns the response, with nothing in between.

    Resolving dependencies would take a third of the interface's time for a prediction; those of
    the router are documentation alone.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Called by the framework, once."""
        return self.endpoint


def router(context: Context) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["predictions"], dependencies=[API_KEY], route_class=DirectRoute)

    @routes.post(
        "/predict",
        summary="Predict one record at once, without the queue",
        response_class=Response,
        responses={
            200: {
                "description": "The prediction",
                "content": {"application/json": {"schema": PREDICTION}},
            },
            **documented(400, 408, 413, 415, 422, 429, 503, 504),
        },
        openapi_extra=json_body(RECORD),
    )
    async def predict(request: Request) -> Response:
        begun = perf_counter()
        try:
            response = await _relay(context, request)
        except Disconnected:
            raise
        except AimqError as exc:
            context.metrics.count_prediction(exc.status, perf_counter() - begun)
            raise
        context.metrics.count_prediction(response.status_code, perf_counter() - begun)
        return response

    return routes


async def _relay(context: Context, request: Request) -> Response:
    body = await read_body(request.scope, request.receive, MAX_RECORD_BYTES)
    if body.lstrip(_BLANKS).startswith(b"["):
        raise Invalid(
            "A list came; one record is expected, as a JSON object. Many records go into a "
            "workbook: POST /upload."
        )
    trace = telemetry.continue_trace(request.headers.get("traceparent"))
    headers = (_CONTENT_TYPE, (b"traceparent", trace.encode("ascii")))
    answer = await context.ml.post(_ML_PATH, body, headers)
    response = Response(answer.body, answer.status)
    response.raw_headers.extend(header for header in answer.headers if header[0] in _PASSED_ON)
    return response
