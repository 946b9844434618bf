"""Open Inference Protocol v2: health, metadata, inference with a tensor for each field.

Each published model is one, under its own name (``used_cars``). Its inputs are the fields of a
record, the group among them: BYTES tensors for text, numbers otherwise, each of shape [n] or
[n, 1]. Its output is the prediction, FP64 [n]. Tensors travel as JSON; the binary extension is not
offered. Source: https://github.com/kserve/open-inference-protocol, REST.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from fastapi import APIRouter
from starlette.responses import Response
from starlette.types import Receive, Scope

from aimq import __version__
from aimq.errors import AimqError, ClientError, Invalid
from aimq.http import problems
from aimq.http.bodies import read_body
from aimq.http.headers import header
from ml_service import openapi, records
from ml_service.catalogue import Catalogue
from ml_service.context import ServiceContext
from ml_service.deployment import NotServing
from ml_service.predict import JSON, LIST_INLINE
from ml_service.v2_tensors import InferRequest, encode, metadata, read_rows
from ml_service.version import ONNX, Version

#: Open as probes are.
HEALTH_PATHS: Final = ("/v2/health/live", "/v2/health/ready")
_MODEL: Final = "/v2/models/{model}"
_VERSION: Final = "/v2/models/{model}/versions/{version}"


class Infer:
    """Answers ``POST /v2/models/<name>[/versions/<version>]/infer``."""

    def __init__(self, context: ServiceContext) -> None:
        self._catalogue = context.catalogue
        self._admission = context.admission
        self._threads = context.threads
        self._metrics = context.metrics
        self._max_body = context.settings.max_body_kb * 1024
        self._decoder = msgspec.json.Decoder(InferRequest)

    async def __call__(self, scope: Scope, receive: Receive) -> Response:
        """Answer one request."""
        if header(scope, b"inference-header-content-length"):
            raise ClientError("Binary tensors are not read here: send the data as JSON.")
        body = await read_body(scope, receive, self._max_body)
        async with self._admission:
            asked = self._decode(body)
            with self._admission.aside():
                version = await find(self._catalogue, **scope["path_params"])
            rows = read_rows(version, asked)
            outcomes, served = await self._score(version, rows)
        content = encode(version, asked, outcomes)
        self._metrics.predicted("v2", version.manifest.name, served)
        self._metrics.warned(version, records.warned(outcomes))
        return Response(
            content, headers={"content-type": JSON, "x-served-by": ", ".join(sorted(served))}
        )

    def _decode(self, body: bytes) -> InferRequest:
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise ClientError(f"The body is not an inference request: {str(exc)[:200]}") from None

    async def _score(self, version: Version, rows: list[dict[str, Any]]) -> records.Outcomes:
        if len(rows) <= min(LIST_INLINE, records.most_inline(version, ONNX)):
            return records.score(version, ONNX, rows)
        with self._admission.aside():
            return await self._threads.run(records.score, version, ONNX, rows)


async def find(catalogue: Catalogue, model: str, version: str | None = None) -> Version:
    """Return the current version of a model, or the one that is named; loads the model.

    Raises:
        NotFound: no such model is published, or the version is not served.
        NotServing: the model cannot be loaded.
    """
    deployment = catalogue.find(model)
    await deployment.ready()
    return deployment.served(version)


def problem(error: AimqError, headers: dict[str, str] | None = None) -> Response:
    """Return an error as the protocol writes it; what the client did wrong is 400."""
    response = problems.response(error, headers)
    response.status_code = 400 if isinstance(error, Invalid) else error.status
    response.body = msgspec.json.encode({"error": error.detail})
    response.headers["content-type"] = JSON
    response.headers["content-length"] = str(len(response.body))
    return response


async def infer(model: str) -> None:
    """Predict: a tensor for each field of a record."""


async def infer_version(model: str, version: str) -> None:
    """Predict by a version: a tensor for each field of a record."""


#: Where inference is asked for, and what documents it.
INFERENCE: Final[dict[str, Callable[..., Any]]] = {
    f"{_MODEL}/infer": infer,
    f"{_VERSION}/infer": infer_version,
}


def routes(context: ServiceContext) -> APIRouter:
    """Return the routes that infer nothing."""
    router = APIRouter(tags=[openapi.V2_TAG])
    _add_server_routes(router, context.catalogue)

    async def described(describe: Callable[[Version], dict[str, Any]], **path: str) -> Response:
        try:
            version = await find(context.catalogue, **path)
        except AimqError as exc:
            return problem(exc)
        return _json(describe(version))

    def is_ready(version: Version) -> dict[str, Any]:
        return {"name": version.manifest.name, "ready": True}

    errors: dict[str, Any] = {"response_model": None, "responses": openapi.v2_errors(404, 503)}

    @router.get(_MODEL, **errors)
    async def model_metadata(model: str) -> Response:
        """Return the inputs and outputs of the model."""
        return await described(metadata, model=model)

    @router.get(_VERSION, **errors)
    async def version_metadata(model: str, version: str) -> Response:
        """Return the inputs and outputs of a version."""
        return await described(metadata, model=model, version=version)

    @router.get(f"{_MODEL}/ready", **errors)
    async def model_ready(model: str) -> Response:
        """Return whether the model is served."""
        return await described(is_ready, model=model)

    @router.get(f"{_VERSION}/ready", **errors)
    async def version_ready(model: str, version: str) -> Response:
        """Return whether a version is served."""
        return await described(is_ready, model=model, version=version)

    return router


def _add_server_routes(router: APIRouter, catalogue: Catalogue) -> None:
    @router.get("/v2", response_model=None)
    async def server() -> Response:
        """Return what this server is."""
        return _json({"name": "aimq", "version": __version__, "extensions": []})

    @router.get("/v2/health/live", response_model=None)
    async def live() -> Response:
        """Return that the server runs."""
        return _json({"live": True})

    @router.get("/v2/health/ready", response_model=None, responses={503: {}})
    async def ready() -> Response:
        """Return whether models are served."""
        try:
            await catalogue.check()
        except NotServing:
            return _json({"ready": False}, 503)
        return _json({"ready": True})


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type=JSON)
