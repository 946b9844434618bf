"""Liveness, readiness and metrics: the same three routes on every service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

import msgspec
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aimq.errors import AimqError

#: Raises an `AimqError` that says why a part does not work now.
Check = Callable[[], Awaitable[None]]

#: Exempt from rate limits, load shedding and API keys.
PATHS = ("/health/live", "/health/ready", "/metrics")


UP: Final = "up"


class Readiness(NamedTuple):
    """Whether a service should be sent requests.

    Attributes:
        parts: name of each part to `UP`, or to what is wrong with it.
    """

    ready: bool
    parts: dict[str, str]


def needing_all(checks: Mapping[str, Check]) -> Callable[[], Awaitable[Readiness]]:
    """Return the readiness of a service that needs each of its parts."""

    async def look() -> Readiness:
        parts = {name: await outcome(check) for name, check in checks.items()}
        return Readiness(all(part == UP for part in parts.values()), parts)

    return look


async def outcome(check: Check) -> str:
    """Return `UP`, or what a check says is wrong."""
    try:
        await check()
    except AimqError as exc:
        return exc.detail
    return UP


def routes(
    readiness: Callable[[], Awaitable[Readiness]], registry: CollectorRegistry = REGISTRY
) -> list[Route]:
    """Return the routes.

    The readiness answer names each part; where it is 503, ``problems`` are those that do not work.
    """

    async def live(_: Request) -> Response:
        return _json({"status": "live"})

    async def ready(_: Request) -> Response:
        is_ready, parts = await readiness()
        if is_ready:
            return _json({"status": "ready", **parts})
        problems = {name: part for name, part in parts.items() if part != UP}
        return _json({"status": "not ready", "problems": problems, **parts}, status=503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics),
    ]


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
