"""Composition root of the ML service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from slowapi.errors import RateLimitExceeded

from aimq import __version__
from aimq.http import documentation, probes, problems
from aimq.http.guard import Guard
from aimq.http.serve import address, serve
from aimq.http.threads import ThreadPool
from aimq.http.workers import Worker, for_all, listen, supervise
from aimq.settings import Settings
from aimq.telemetry import configure_logging
from ml_service import factorial, models, openapi, rate_limit, v2
from ml_service.admission import Admission
from ml_service.aimd import Aimd
from ml_service.catalogue import Catalogue
from ml_service.endpoint import AsgiRoute, Endpoint
from ml_service.metrics import ServiceMetrics
from ml_service.predict import BodyBudget, Predict
from ml_service.rate_limit import RateLimit
from ml_service.runtimes.connect import connect_runtimes
from ml_service.version import ONNX, PICKLE

logger = logging.getLogger(__name__)

#: Largest bodies that may be held at one time, in number.
_HELD_BODIES: Final = 4


class MlService(FastAPI):
    """The framework's application; its document describes the records of the version in service.

    Attributes:
        catalogue: the version in service.
    """

    catalogue: Catalogue

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        version = self.catalogue.peek()
        served = version.name if version else None
        document = self.openapi_schema
        if document is None or document["info"]["x-model-version"] != served:
            self.openapi_schema = None
            document = super().openapi()
            document["info"]["x-model-version"] = served
            described = openapi.schemas(version.schema if version else None)
            document["components"].setdefault("schemas", {}).update(described)
        return document


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the routes share. One per application and event loop."""

    settings: Settings
    catalogue: Catalogue
    metrics: ServiceMetrics
    admission: Admission
    rate: RateLimit
    threads: ThreadPool
    factorials: factorial.FactorialModel

    @contextlib.asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Serve versions, follow the load and share counts while the block runs."""
        async with self.catalogue.running(), self.admission.running(), self.rate.sharing():
            yield
        self.factorials.close()
        await asyncio.to_thread(self.threads.close, wait=True)


def create_app(settings: Settings, registry: CollectorRegistry | None = None) -> MlService:
    """Build the service from its settings. Models are loaded once it is started (lifespan).

    Args:
        registry: where its metrics are registered; one of its own by default.
    """
    registry = registry or _process_registry()
    storage = rate_limit.connect_storage(settings)
    rate = RateLimit(settings.rate_limit, storage, parts=1 if storage else settings.workers)
    policy = Aimd(lag=settings.latency_target_ms / 2000)  # the rest is for the answer itself
    parts = Parts(
        settings=settings,
        catalogue=Catalogue(settings.models_dir, settings.model_name, connect_runtimes(settings)),
        metrics=ServiceMetrics(registry),
        admission=Admission(rate, policy, registry),
        rate=rate,
        threads=ThreadPool(settings.concurrency, "ml"),
        factorials=factorial.FactorialModel(settings),
    )
    app = MlService(
        title="AIMQ ML service",
        summary="Predictions from ONNX and pickled models.",
        version=__version__,
        lifespan=parts.running,
        dependencies=[documentation.API_KEY],
        docs_url=None,
        redoc_url=None,
    )
    app.catalogue = parts.catalogue
    problems.install(app)
    documentation.install(app)
    app.add_middleware(
        Guard, settings, open_paths=v2.HEALTH_PATHS, on_refusal=parts.metrics.refused
    )
    app.router.routes[:0] = [*_predictions(parts), *_inference(parts)]
    _add_limited_routes(app, parts)
    app.include_router(v2.routes(parts.catalogue, settings))
    app.router.routes.extend(probes.routes({"models": parts.catalogue.check}, registry))
    return app


def _predictions(parts: Parts) -> list[AsgiRoute]:
    budget = BodyBudget(_HELD_BODIES * parts.settings.max_upload_mb * 1024 * 1024)

    async def predict_onnx() -> None:
        """Predict with the cached ONNX model."""

    async def predict_pickle() -> None:
        """Predict with the pickle, loaded from disk at every request: the slow baseline."""

    routes = []
    for model_format, documented in ((ONNX, predict_onnx), (PICKLE, predict_pickle)):
        path = f"/predict/{model_format}"
        answer = Predict(
            model_format,
            parts.catalogue,
            parts.admission,
            parts.threads,
            parts.metrics,
            parts.settings,
            budget,
        )
        endpoint = Endpoint(answer, parts.admission, parts.metrics.route(path))
        routes.append(AsgiRoute(path, documented, endpoint, **openapi.PREDICT))
    return routes


def _inference(parts: Parts) -> list[AsgiRoute]:
    answer = v2.Infer(
        parts.catalogue, parts.admission, parts.threads, parts.metrics, parts.settings
    )
    routes = []
    for path, documented in v2.INFERENCE.items():
        endpoint = Endpoint(answer, parts.admission, parts.metrics.route(path), v2.problem)
        routes.append(AsgiRoute(path, documented, endpoint, **openapi.INFER))
    return routes


def _add_limited_routes(app: FastAPI, parts: Parts) -> None:
    """Add the routes that slowapi limits."""
    limiter = rate_limit.route_limiter(parts.settings)
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, rate_limit.answer_exceeded)
    limited: Callable[[Callable[..., Any]], Callable[..., Any]] = limiter.shared_limit(
        parts.rate.text, scope="routes", exempt_when=rate_limit.is_internal
    )
    app.include_router(models.routes(parts.catalogue, limited))
    app.include_router(factorial.routes(parts.factorials, limited))


def _process_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def run(settings: Settings, worker: Worker | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code."""
    configure_logging(settings, "ml-service")
    settings.refuse_open_door(settings.ml_host)
    door = settings.ml_host, settings.ml_port, "AIMQ_ML_PORT"
    if settings.workers > 1 and worker is None:
        return supervise("ml-service", *door, settings)
    socks = listen(*door, worker)
    sys.setswitchinterval(0.001)  # single predictions wait less for the threads of large ones
    logger.info("listening on %s", address(socks[0]))
    serve(for_all(create_app(settings), worker), socks, settings)
    return 0
