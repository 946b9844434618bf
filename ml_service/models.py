"""``GET /models`` and ``POST /models/reload``."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from aimq.errors import ClientError, Conflict, ModelRefused
from ml_service import bodies
from ml_service.access import Access
from ml_service.catalogue import Catalogue
from ml_service.openapi import problems
from ml_service.version import Version

_MAX_BODY = 4096


class Reload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a reload: the version to serve; without one, what is published as current."""

    version: str | None = None


def describe(version: Version, catalogue: Catalogue) -> dict[str, Any]:
    """Return what is served, where it comes from, and what was refused."""
    groups = {}
    for group in version.schema.groups:
        models = {
            way: {
                "file": by_group[group].file.path.name,
                "sha256": by_group[group].file.sha256,
                "bytes": by_group[group].bytes,
                "runtime": by_group[group].runtime,
                "inline_rows": by_group[group].inline_rows,
            }
            for way, by_group in version.models.items()
            if group in by_group
        }
        groups[group] = {
            "served": bool(models),
            "error": version.refused.get(group),
            "models": models,
            "metrics": version.metrics.get("groups", version.metrics).get(group, {}),
        }
    return {
        "name": version.manifest.name,
        "version": version.name,
        "created_at": version.manifest.created_at,
        "data": version.manifest.data,
        "groups": groups,
        "published": catalogue.published(),
        "refused": catalogue.refused,
        "schema": version.schema.source,
    }


def routes(catalogue: Catalogue, access: Access) -> APIRouter:
    """Return the routes."""

    async def allowed(request: Request) -> None:
        access.check(request.scope)

    router = APIRouter(tags=["models"], dependencies=[Depends(allowed)])

    @router.get("/models", responses=problems("401", "503"), response_model=None)
    async def models() -> Response:
        """What is served: groups, digests, metrics, the schema; and what was refused, and why."""
        return _json(describe(catalogue.current, catalogue))

    body = {"type": "object", "properties": {"version": {"type": ["string", "null"]}}}
    extra = {"requestBody": {"content": {bodies.JSON: {"schema": body}}}}

    @router.post(
        "/models/reload",
        responses=problems("400", "401", "404", "409", "413", "503"),
        response_model=None,
        openapi_extra=extra,
    )
    async def reload(request: Request) -> Response:
        """Serve the current version, or the one named, without failing a request.

        The version in service stays when the new one cannot be served (409 says why).
        """
        content = await bodies.read_body(request.scope, request.receive, _MAX_BODY)
        try:
            version = await catalogue.reload(_wanted(content))
        except ModelRefused as exc:
            raise Conflict(exc.detail) from exc
        return _json(describe(version, catalogue))

    return router


def _wanted(content: bytes) -> str | None:
    try:
        return msgspec.json.decode(content or b"{}", type=Reload).version
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise ClientError(f'Send {{"version": "..."}} or nothing: {exc}') from None


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type=bodies.JSON)
