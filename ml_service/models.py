"""``GET /models`` and ``POST /models/reload``."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from aimq.errors import ClientError, Conflict, ModelRefused
from aimq.http.bodies import read_body
from aimq.http.problems import documented
from ml_service.catalogue import Catalogue
from ml_service.deployment import Deployment
from ml_service.predict import JSON
from ml_service.rate_limit import Decorator
from ml_service.version import Version

_MAX_BODY: Final = 4096


class Reload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a reload: the version to serve; without one, what is published as current."""

    version: str | None = None


_RELOAD_BODY: Final = {
    "requestBody": {"content": {JSON: {"schema": {"$ref": "#/components/schemas/Reload"}}}}
}


def describe(version: Version, deployment: Deployment) -> dict[str, Any]:
    """Return what is served, where it comes from, and what was refused."""
    groups = {}
    for group in version.schema.groups:
        models = {
            model_format: {
                "file": by_group[group].file.path.name,
                "sha256": by_group[group].file.sha256,
                "bytes": by_group[group].bytes,
                "runtime": by_group[group].runtime,
                "inline_rows": by_group[group].inline_rows,
            }
            for model_format, by_group in version.models.items()
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
        "published": deployment.published(),
        "refused": deployment.refused,
        "schema": version.schema.source,
    }


def routes(catalogue: Catalogue, limited: Decorator) -> APIRouter:
    """Return the routes.

    Args:
        limited: limits their rate for each client.
    """
    router = APIRouter(tags=["models"])

    @router.get("/models", responses=documented(401, 429, 503), response_model=None)
    @limited
    async def models(request: Request) -> Response:  # noqa: ARG001 # the limiter needs it
        """Return what is served: groups, digests, metrics, schema; what was refused, and why."""
        return _json(describe(catalogue.default.current, catalogue.default))

    @router.post(
        "/models/reload",
        responses=documented(400, 401, 404, 408, 409, 413, 429, 503),
        response_model=None,
        openapi_extra=_RELOAD_BODY,
    )
    @limited
    async def reload(request: Request) -> Response:
        """Serve the current version, or the one named, without failing a request.

        The version in service stays when the new one cannot be served (409 says why).
        """
        content = await read_body(request.scope, request.receive, _MAX_BODY)
        try:
            version = await catalogue.default.reload(_wanted(content))
        except ModelRefused as exc:
            raise Conflict(exc.detail) from exc
        return _json(describe(version, catalogue.default))

    return router


def _wanted(content: bytes) -> str | None:
    try:
        return msgspec.json.decode(content or b"{}", type=Reload).version
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise ClientError(f'Send {{"version": "..."}} or nothing: {exc}') from None


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type=JSON)
