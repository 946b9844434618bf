"""The routes under ``/models``, relayed to the ML service: what is served, and which version."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from aimq.errors import NotFound
from aimq.http.bodies import read_body
from aimq.http.problems import documented
from interface.context import Context
from interface.record_schemas import json_body
from interface.responses import relayed_response
from interface.schema_cache import KnownModel

#: Names as the ML service takes them: none of them changes a path.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_MAX_BODY: Final = 4096
_CONTENT_TYPE: Final = (b"content-type", b"application/json")
_VERSION: Final = {"version": {"type": "string"}}
_PERCENT: Final = {"percent": {"type": "number", "minimum": 0, "maximum": 100}}
_HTML: Final = {200: {"description": "One HTML page", "content": {"text/html": {}}}}
_READING: Final = documented(404, 429, 503, 504)
_CHANGING: Final = documented(400, 404, 408, 409, 413, 422, 429, 503, 504)

Name = Annotated[str, Path(description="Name of a model, as `GET /models` lists them.")]


#: The query parameter that names the model of an upload or a task.
ModelName = Annotated[str, Query(description="Name of a model; the default is `AIMQ_MODEL_NAME`.")]


def model_path(name: str, what: str) -> bytes:
    """Return a path of the ML service under ``/models/{name}``.

    Args:
        what: the rest of the path, with its slash.

    Raises:
        NotFound: no model can have this name.
    """
    _check(name)
    return f"/models/{name}{what}".encode()


async def find_model(context: Context, name: str) -> KnownModel | None:
    """Return the model that a request names; None while the ML service is away.

    Raises:
        NotFound: there is none of this name; lists those there are.
    """
    _check(name)
    return await context.schema.find(name)


def _check(name: str) -> None:
    """Raise `NotFound` if no model can have this name."""
    if not _NAME.fullmatch(name):
        raise NotFound(f"No model can be named {name[:64]!r}; GET /models lists those there are.")


def router(context: Context) -> APIRouter:
    """Return the routes. Problem documents of the ML service pass as they are."""
    routes = APIRouter(tags=["models"], default_response_class=Response)

    async def get(path: bytes) -> Response:
        return relayed_response(await context.ml.get(path))

    async def post(request: Request, path: bytes) -> Response:
        body = await read_body(request.scope, request.receive, _MAX_BODY)
        return relayed_response(await context.ml.post_once(path, body, (_CONTENT_TYPE,)))

    @routes.get("/models", summary="The models that are served", responses=documented(429, 503))
    async def models() -> Response:
        return await get(b"/models")

    @routes.get("/models/{name}", summary="One model in full", responses=_READING)
    async def model(name: Name) -> Response:
        return await get(model_path(name, ""))

    @routes.get("/models/{name}/schema", summary="Its fields and answers", responses=_READING)
    async def schema(name: Name) -> Response:
        return await get(model_path(name, "/schema"))

    @routes.get("/models/{name}/drift", summary="Drift of its features", responses=_READING)
    async def drift(name: Name) -> Response:
        return await get(model_path(name, "/drift"))

    @routes.get(
        "/models/{name}/report", summary="Its training report", responses={**_HTML, **_READING}
    )
    async def report(name: Name) -> Response:
        return await get(model_path(name, "/report"))

    @routes.post("/models/reload", summary="Serve a version of the default", **_body(_VERSION))
    async def reload_default(request: Request) -> Response:
        return await post(request, b"/models/reload")

    @routes.post("/models/{name}/reload", summary="Serve a version", **_body(_VERSION))
    async def reload(request: Request, name: Name) -> Response:
        return await post(request, model_path(name, "/reload"))

    @routes.post("/models/{name}/rollback", summary="Serve the version before", **_body({}))
    async def rollback(request: Request, name: Name) -> Response:
        return await post(request, model_path(name, "/rollback"))

    @routes.post(
        "/models/{name}/canary",
        summary="Send a share of single records to a version; 0 per cent ends it",
        **_body(_VERSION | _PERCENT, required=["version", "percent"]),
    )
    async def canary(request: Request, name: Name) -> Response:
        return await post(request, model_path(name, "/canary"))

    return routes


def _body(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    """Return the documentation of a route that changes what is served."""
    schema = {"type": "object", "properties": properties, "required": required or []}
    extra = json_body(schema)
    extra["requestBody"]["required"] = bool(required)
    return {"responses": _CHANGING, "openapi_extra": extra}
