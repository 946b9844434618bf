"""Open Inference Protocol v2: health, metadata, inference with a tensor for each field.

There is one model, named as the published one (``used_cars``). Its inputs are the fields of a
record, the group among them: BYTES tensors for text, numbers otherwise, each of shape [n] or
[n, 1]. Its output is the prediction, FP64 [n]. Tensors travel as JSON; the binary extension is not
offered. Source: https://github.com/kserve/open-inference-protocol, REST.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from aimq import __version__
from aimq.errors import AimqError, ClientError, Invalid, NotFound
from aimq.settings import Settings
from ml_service import bodies, records
from ml_service.catalogue import Catalogue
from ml_service.endpoint import Reply, problem_reply
from ml_service.metrics import ServiceMetrics
from ml_service.threads import Threads
from ml_service.v2_tensors import InferRequest, encode, metadata, read_rows
from ml_service.version import ONNX, Version

_JSON: Final = (b"content-type", b"application/json")
#: So many rows cost more to read than to predict; they leave the event loop.
_INLINE_ROWS: Final = 64
#: Where inference is asked for.
INFER_PATHS: Final = (
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}/infer",
)


class Infer:
    """The handler of ``POST /v2/models/<name>[/versions/<version>]/infer``."""

    def __init__(
        self, catalogue: Catalogue, threads: Threads, metrics: ServiceMetrics, settings: Settings
    ) -> None:
        self._catalogue = catalogue
        self._threads = threads
        self._metrics = metrics
        self._name = settings.model_name
        self._max_body = settings.max_body_kb * 1024
        self._decoder = msgspec.json.Decoder(InferRequest)

    async def __call__(self, scope: Scope, receive: Receive) -> Reply:
        """Answer one request."""
        if bodies.header(scope, b"inference-header-content-length"):
            raise ClientError("Binary tensors are not read here: send the data as JSON.")
        body = await bodies.read_body(scope, receive, self._max_body)
        asked = self._decode(body)
        version = self._catalogue.current
        check_model(version, self._name, scope.get("path_params", {}))
        rows = read_rows(version, asked)
        if len(rows) <= min(_INLINE_ROWS, records.most_inline(version, ONNX)):
            outcomes, served = records.score(version, ONNX, rows)
        else:
            outcomes, served = await self._threads.run(records.score, version, ONNX, rows)
        for runtime in served:
            self._metrics.predicted("v2", runtime, len(rows))
        content = encode(version, asked, outcomes)
        return Reply(content, [_JSON, (b"x-served-by", ", ".join(served).encode())], quick=False)

    def _decode(self, body: bytes) -> InferRequest:
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise ClientError(f"The body is not an inference request: {str(exc)[:200]}") from None


def check_model(version: Version, name: str, path: Mapping[str, str]) -> None:
    """Raise `NotFound` unless a path names the model that is served, and its version if any."""
    asked, of = path.get("model", name), path.get("version", version.name)
    if asked != name:
        raise NotFound(f"Unknown model {asked[:80]!r}: there is {name!r}.")
    if of != version.name:
        raise NotFound(f"Version {of[:80]!r} of {name!r} is not served: {version.name!r} is.")


def problem(error: AimqError, headers: dict[str, str]) -> Reply:
    """Return an error as the protocol writes it; what the client did wrong is 400."""
    status = 400 if isinstance(error, Invalid) else error.status
    reply = problem_reply(error, headers)
    others = [(key, value) for key, value in reply.headers if key != b"content-type"]
    body = msgspec.json.encode({"error": error.detail})
    return Reply(body, [_JSON, *others], status)


def routes(catalogue: Catalogue, settings: Settings) -> APIRouter:
    """Return the routes that infer nothing."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])
    name = settings.model_name

    @router.get("", response_model=None)
    async def server() -> Response:
        """What this server is."""
        return _json({"name": "aimq", "version": __version__, "extensions": []})

    @router.get("/health/live", response_model=None)
    async def live() -> Response:
        """Whether the server runs."""
        return _json({"live": True})

    @router.get("/health/ready", response_model=None, responses={503: {}})
    async def ready() -> Response:
        """Whether models are served."""
        is_ready = catalogue.peek() is not None
        return _json({"ready": is_ready}, 200 if is_ready else 503)

    async def model(request: Request) -> Response:
        """Return the metadata of the model: its inputs and outputs."""
        return _of_model(request, metadata)

    async def model_ready(request: Request) -> Response:
        """Tell whether the model is served."""
        return _of_model(request, lambda version: {"name": version.manifest.name, "ready": True})

    def _of_model(request: Request, tell: Any) -> Response:  # noqa: ANN401 # a function
        try:
            version = catalogue.current
            check_model(version, name, request.path_params)
        except AimqError as exc:
            return Response(problem(exc, {}).body, exc.status, media_type=bodies.JSON)
        return _json(tell(version))

    for path in ("/models/{model}", "/models/{model}/versions/{version}"):
        described: dict[str, Any] = {"response_model": None, "responses": {404: {}, 503: {}}}
        parameters = [
            {"name": part, "in": "path", "required": True, "schema": {"type": "string"}}
            for part in ("model", "version")
            if f"{{{part}}}" in path
        ]
        described["openapi_extra"] = {"parameters": parameters}
        router.add_api_route(path, model, methods=["GET"], **described)
        router.add_api_route(f"{path}/ready", model_ready, methods=["GET"], **described)
    return router


def _json(content: object, status: int = 200) -> Response:
    return Response(json.dumps(content), status, media_type=bodies.JSON)
