"""``GET /models/{name}/drift``, and the same figures as metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from aimq.errors import NotFound
from aimq.http.problems import documented
from ml_service.catalogue import Catalogue
from ml_service.predict import JSON
from ml_service.rate_limit import Decorator

#: Pause between two measurements for the metrics, in seconds; a scrape shows the last one.
SECONDS: Final = 15.0


class DriftMetrics(Collector):
    """Shows the last measurements of all loaded versions. Registers itself.

    Args:
        registry: where the samples are collected from.
    """

    def __init__(self, catalogue: Catalogue, registry: CollectorRegistry) -> None:
        self._catalogue = catalogue
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Return the samples; called at each scrape."""
        drift = GaugeMetricFamily(
            "aimq_ml_feature_drift",
            "Population stability index of the last rows against the training rows.",
            labels=["model", "version", "feature"],
        )
        for deployment in self._catalogue.deployments():
            for version in deployment.loaded():
                for feature in version.drift.latest.features if version.drift else ():
                    drift.add_metric([deployment.name, version.name, feature.name], feature.psi)
        return [drift]


async def keep_measuring(catalogue: Catalogue) -> None:
    """Measure the drift of all loaded versions again and again."""
    while True:
        await asyncio.sleep(SECONDS)
        for deployment in catalogue.deployments():
            for version in deployment.loaded():
                if version.drift is not None:
                    await asyncio.to_thread(version.drift.measure)


def routes(catalogue: Catalogue, limited: Decorator) -> APIRouter:
    """Return the route.

    Args:
        limited: limits its rate for each client.
    """
    router = APIRouter(tags=["models"])
    options: dict[str, Any] = {
        "response_model": None,
        "responses": documented(401, 404, 429, 503),
    }

    @router.get("/models/{name}/drift", **options)
    @limited
    async def drift(request: Request, name: str, version: str | None = None) -> Response:  # noqa: ARG001 # the limiter needs it
        """Return how far each feature of the last rows moved from the training rows.

        `version` names the current version, which is meant without it, or the canary.
        """
        deployment = catalogue.find(name)
        await deployment.ready()
        found = deployment.served(version)
        if found.drift is None:
            raise NotFound(
                f"Version {found.name} of {name} has no profile of training rows to compare with: "
                "it was imported, or published before profiles were. Train the model again."
            )
        measured = await asyncio.to_thread(found.drift.measure)
        described = {"model": deployment.name, "version": found.name}
        content = {**described, "rows": measured.rows, "features": measured.features}
        return Response(msgspec.json.encode(content), media_type=JSON)

    return router
