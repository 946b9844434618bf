"""``POST /predict`` and ``/models/{name}/predict``: relayed to the ML service as they came, and
its answers likewise.

The service that knows the model checks the record.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from aimq import telemetry
from aimq.errors import AimqError, Disconnected, Invalid
from aimq.http.bodies import read_body
from aimq.http.documentation import API_KEY
from aimq.http.problems import documented
from aimq.profile import LEAST_INTERVAL, MOST_INTERVAL
from interface.context import Context
from interface.models import model_path
from interface.record_schemas import ANY_PREDICTION, ANY_RECORD, PREDICTION, RECORD, json_body
from interface.responses import relayed_response

#: Largest record, in bytes: many times a usual one.
MAX_RECORD_BYTES: Final = 16 * 1024
_ML_PATH: Final = b"/predict/onnx"
_INTERVAL: Final = {
    "name": "interval",
    "in": "query",
    "required": False,
    "description": "Per cent that a prediction interval is to cover.",
    "schema": {"type": "integer", "minimum": LEAST_INTERVAL, "maximum": MOST_INTERVAL},
}
_NAME: Final = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "Name of a model, as `GET /models` lists them.",
    "schema": {"type": "string"},
}
_BLANKS: Final = b" \t\r\n"
_CONTENT_TYPE: Final = (b"content-type", b"application/json")


class DirectRoute(APIRoute):
    """A route whose function gets the request and returns the response, with nothing in between.

    Resolving dependencies would take a third of the interface's time for a prediction; those of
    the router are documentation alone.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Called by the framework, once."""
        return self.endpoint


def router(context: Context) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["predictions"], dependencies=[API_KEY], route_class=DirectRoute)

    @routes.post(
        "/predict",
        summary="Predict one record at once, without the queue",
        response_class=Response,
        responses=_documented(PREDICTION, 400, 408, 413, 415, 422, 429, 503, 504),
        openapi_extra={**json_body(RECORD), "parameters": [_INTERVAL]},
    )
    async def predict(request: Request) -> Response:
        return await counted(request, _ML_PATH)

    @routes.post(
        "/models/{name}/predict",
        summary="Predict one record with the model of this name",
        response_class=Response,
        responses=_documented(ANY_PREDICTION, 400, 404, 408, 413, 415, 422, 429, 503, 504),
        openapi_extra={**json_body(ANY_RECORD), "parameters": [_NAME, _INTERVAL]},
    )
    async def predict_with(request: Request) -> Response:
        return await counted(request, model_path(request.path_params["name"], "/predict"))

    async def counted(request: Request, path: bytes) -> Response:
        begun = perf_counter()
        try:
            response = await _relay(context, request, path)
        except Disconnected:
            raise
        except AimqError as exc:
            context.metrics.count_prediction(exc.status, perf_counter() - begun)
            raise
        context.metrics.count_prediction(response.status_code, perf_counter() - begun)
        return response

    return routes


def _documented(prediction: dict[str, Any], *statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": prediction}}
    return {200: {"description": "The prediction", "content": content}, **documented(*statuses)}


async def _relay(context: Context, request: Request, path: bytes) -> Response:
    body = await read_body(request.scope, request.receive, MAX_RECORD_BYTES)
    if body.lstrip(_BLANKS).startswith(b"["):
        raise Invalid(
            "A list came; one record is expected, as a JSON object. Many records go into a "
            "workbook: POST /upload."
        )
    trace = telemetry.continue_trace(request.headers.get("traceparent"))
    headers = (_CONTENT_TYPE, (b"traceparent", trace.encode("ascii")))
    if request.scope["query_string"]:
        interval = request.query_params.get("interval")
        path += b"" if interval is None else b"?interval=" + quote(interval, safe="").encode()
    return relayed_response(await context.ml.post(path, body, headers))
