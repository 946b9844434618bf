"""Liveness, readiness and metrics: the same three routes on every service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aimq.errors import AimqError

#: Raises an `AimqError` that says why the service cannot work now.
Check = Callable[[], Awaitable[None]]

#: Exempt from rate limits, load shedding and API keys.
PATHS = ("/health/live", "/health/ready", "/metrics")


def routes(
    checks: dict[str, Check],
    registry: CollectorRegistry = REGISTRY,
    reported: Callable[[], dict[str, str]] = dict,
) -> list[Route]:
    """Return the routes.

    Args:
        checks: what readiness depends on, by name.
        reported: what else the readiness answer tells, by name: ``up`` or a sentence.
    """

    async def live(_: Request) -> Response:
        return _json({"status": "live"})

    async def ready(_: Request) -> Response:
        problems = {}
        for name, check in checks.items():
            try:
                await check()
            except AimqError as exc:
                problems[name] = exc.detail
        if problems:
            return _json({"status": "not ready", "problems": problems, **reported()}, status=503)
        return _json({"status": "ready", **reported()})

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics),
    ]


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
