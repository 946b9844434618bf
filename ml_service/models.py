"""``/models``: what is published and served, and which version of it answers."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeVar

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from aimq.errors import ClientError, Conflict, FieldError, Invalid, ModelRefused
from aimq.http.bodies import read_body
from aimq.http.problems import documented
from aimq.schema.jsonschema import answer_schema, record_schema
from ml_service.catalogue import Catalogue
from ml_service.deployment import Deployment
from ml_service.descriptions import describe, entry
from ml_service.predict import JSON
from ml_service.rate_limit import Decorator

_MAX_BODY: Final = 4096
_MOST_PERCENT: Final = 100
#: A report is shown as it is: it loads nothing, runs nothing, and sends nothing anywhere.
_REPORT_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "X-Content-Type-Options": "nosniff",
}

_Body = TypeVar("_Body")


class Reload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a reload: the version to serve; without one, what is published as current."""

    version: str | None = None


class CanaryShare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a canary: which version answers how many percent of single records; 0 ends it."""

    percent: int
    version: str | None = None


def _body_of(kind: type) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"content": {JSON: {"schema": schema}}}}


_LOOK: Final[dict[str, Any]] = {"response_model": None, "responses": documented(401, 404, 429, 503)}
_CHANGE: Final[dict[str, Any]] = {
    "response_model": None,
    "responses": documented(400, 401, 404, 408, 409, 413, 422, 429, 503),
}


def routes(catalogue: Catalogue, limited: Decorator) -> APIRouter:
    """Return the routes.

    Args:
        limited: limits their rate for each client.
    """
    router = APIRouter(tags=["models"])
    _add_descriptions(router, catalogue, limited)
    _add_changes(router, catalogue, limited)
    return router


def _add_descriptions(router: APIRouter, catalogue: Catalogue, limited: Decorator) -> None:
    @router.get("/models", responses=documented(401, 429, 503), response_model=None)
    @limited
    async def models(request: Request) -> Response:  # noqa: ARG001 # the limiter needs it
        """Return every model; and what is served of the default: digests, metrics, schema."""
        default = catalogue.default
        described = await _described(default) if default.peek() else {}
        found = catalogue.deployments()
        if not described:
            await catalogue.check()
        entries = await asyncio.gather(*(entry(each, default=each is default) for each in found))
        return _json({**described, "models": entries})

    @router.get("/models/{name}", **_LOOK)
    @limited
    async def model(request: Request, name: str) -> Response:  # noqa: ARG001 # as above
        """Return what is served of a model; it is loaded if it is not."""
        deployment = catalogue.find(name)
        await deployment.ready()
        return _json(await _described(deployment))

    @router.get("/models/{name}/schema", **_LOOK)
    @limited
    async def schema(request: Request, name: str) -> Response:  # noqa: ARG001 # as above
        """Return a model's schema, its version, the JSON Schemas of a record and of its answer."""
        overview = await catalogue.find(name).overview()
        found = overview.schema
        return _json(
            {
                "version": overview.manifest.version,
                "schema": found.source,
                "record": record_schema(found),
                "answer": answer_schema(found),
            }
        )

    @router.get("/models/{name}/report", **_LOOK)
    @limited
    async def report(request: Request, name: str) -> Response:  # noqa: ARG001 # as above
        """Return the report of the training, a page of HTML."""
        deployment = catalogue.find(name)
        overview = await deployment.overview()
        content = await asyncio.to_thread(deployment.folder.read_report, overview)
        return Response(content, media_type="text/html", headers=_REPORT_HEADERS)


def _add_changes(router: APIRouter, catalogue: Catalogue, limited: Decorator) -> None:
    @router.post("/models/reload", openapi_extra=_body_of(Reload), **_CHANGE)
    @limited
    async def reload_default(request: Request) -> Response:
        """Do as `/models/{name}/reload` with the default model."""
        return await _reload(request, catalogue.default)

    @router.post("/models/{name}/reload", openapi_extra=_body_of(Reload), **_CHANGE)
    @limited
    async def reload(request: Request, name: str) -> Response:
        """Serve the current version, or the one named, without failing a request.

        The version in service stays when the new one cannot be served (409 says why).
        """
        return await _reload(request, catalogue.find(name))

    @router.post("/models/{name}/rollback", **_CHANGE)
    @limited
    async def roll_back(request: Request, name: str) -> Response:  # noqa: ARG001 # as above
        """Serve the newest version that is older than the current one."""
        deployment = catalogue.find(name)
        try:
            await deployment.roll_back()
        except ModelRefused as exc:
            raise Conflict(exc.detail) from exc
        return _json(await _described(deployment))

    @router.post("/models/{name}/canary", openapi_extra=_body_of(CanaryShare), **_CHANGE)
    @limited
    async def set_canary(request: Request, name: str) -> Response:
        """Let a version answer a share of the single records until another becomes current."""
        deployment = catalogue.find(name)
        asked = await _read(request, CanaryShare, '{"version": "...", "percent": 10}')
        try:
            await _set_canary(deployment, asked)
        except ModelRefused as exc:
            raise Conflict(exc.detail) from exc
        return _json(await entry(deployment, default=deployment is catalogue.default))


async def _reload(request: Request, deployment: Deployment) -> Response:
    asked = await _read(request, Reload, '{"version": "..."} or nothing')
    try:
        await deployment.reload(asked.version)
    except ModelRefused as exc:
        raise Conflict(exc.detail) from exc
    return _json(await _described(deployment))


async def _described(deployment: Deployment) -> dict[str, Any]:
    return await asyncio.to_thread(describe, deployment.current, deployment)


async def _set_canary(deployment: Deployment, asked: CanaryShare) -> None:
    if not 0 <= asked.percent <= _MOST_PERCENT:
        message = "must be a whole number from 0, which ends the canary, to 100"
        error = FieldError(field="percent", message=message, given=asked.percent)
        raise Invalid(f"percent: {message}.", errors=[error])
    if asked.percent == 0:
        await deployment.end_canary()
    elif asked.version is None:
        raise Invalid(
            "version: is missing.", errors=[{"field": "version", "message": "is missing"}]
        )
    else:
        await deployment.set_canary(asked.version, asked.percent)


async def _read(request: Request, kind: type[_Body], wanted: str) -> _Body:
    content = await read_body(request.scope, request.receive, _MAX_BODY)
    try:
        return msgspec.json.decode(content or b"{}", type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise ClientError(f"Send {wanted}: {exc}") from None


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type=JSON)
