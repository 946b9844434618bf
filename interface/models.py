"""The routes under ``/models``, relayed to the ML service: what is served, and which version."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from aimq.errors import NotFound
from aimq.http.bodies import read_body
from aimq.http.problems import documented
from aimq.published import MODEL_NAME
from interface.context import Context
from interface.responses import relayed_response
from interface.schema_cache import KnownModel

_MAX_BODY: Final = 4096
_CONTENT_TYPE: Final = (b"content-type", b"application/json")
Document = dict[str, Any]
_READING: Final = documented(404, 429, 503, 504)
_CHANGING: Final = documented(400, 404, 408, 409, 413, 422, 429, 503, 504)
_HTML: Final[dict[int | str, Document]] = {
    200: {"description": "One HTML page", "content": {"text/html": {}}}
}
#: What is read of a model, by the rest of the path: summary and answers.
_READ: Final = {
    "": ("One model in full", _READING),
    "/schema": ("Its fields and answers", _READING),
    "/drift": ("How its features have drifted from training", _READING),
    "/report": ("Its training report", {**_HTML, **_READING}),
}
_VERSION: Final[Document] = {"version": {"type": "string"}}
_PERCENT: Final[Document] = {"percent": {"type": "integer", "minimum": 0, "maximum": 100}}
#: What is changed, by the rest of the path: summary, fields, and those that are needed.
_CHANGE: Final[dict[str, tuple[str, Document, Sequence[str]]]] = {
    "/reload": ("Serve a version", _VERSION, ()),
    "/rollback": ("Serve the version before", {}, ()),
    "/canary": (
        "Send a share of single records to another version; 0 per cent ends it",
        _VERSION | _PERCENT,
        ("percent",),
    ),
}

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
    if not MODEL_NAME.fullmatch(name):
        raise NotFound(f"No model can be named {name[:64]!a}; GET /models lists those there are.")


def router(context: Context) -> APIRouter:
    """Return the routes. Statuses and problem documents of the ML service pass as they are."""
    routes = APIRouter(tags=["models"], default_response_class=Response)

    @routes.get("/models", summary="The models that are served", responses=documented(429, 503))
    async def models() -> Response:
        return relayed_response(await context.ml.get(b"/models"))

    @routes.post("/models/reload", summary="Serve a version of the default", **_body(_VERSION))
    async def reload_default(request: Request) -> Response:
        return await _post(context, request, b"/models/reload")

    for what, (summary, responses) in _READ.items():
        routes.get(f"/models/{{name}}{what}", summary=summary, responses=responses)(
            _reader(context, what)
        )
    for what, (summary, properties, required) in _CHANGE.items():
        routes.post(f"/models/{{name}}{what}", summary=summary, **_body(properties, required))(
            _changer(context, what)
        )
    return routes


def _reader(context: Context, what: str) -> Callable[..., Awaitable[Response]]:
    async def read(name: Name) -> Response:
        return relayed_response(await context.ml.get(model_path(name, what)))

    return read


def _changer(context: Context, what: str) -> Callable[..., Awaitable[Response]]:
    async def change(request: Request, name: Name) -> Response:
        return await _post(context, request, model_path(name, what))

    return change


async def _post(context: Context, request: Request, path: bytes) -> Response:
    body = await read_body(request.scope, request.receive, _MAX_BODY)
    return relayed_response(await context.ml.post_once(path, body, (_CONTENT_TYPE,)))


def _body(properties: Document, required: Sequence[str] = ()) -> Document:
    """Return the documentation of a route that changes what is served."""
    schema = {"type": "object", "properties": properties, "required": list(required)}
    content = {"application/json": {"schema": schema}}
    body = {"requestBody": {"required": bool(required), "content": content}}
    return {"responses": _CHANGING, "openapi_extra": body}
