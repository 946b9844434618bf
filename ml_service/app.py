"""Composition root of the ML service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from starlette.types import ASGIApp, Receive, Scope, Send

from aimq import __version__
from aimq.http import documentation, probes, problems
from aimq.http.guard import Guard
from aimq.http.serve import address, serve
from aimq.http.threads import ThreadPool
from aimq.http.workers import MODEL_CHANGES, Worker, for_all, listen, supervise
from aimq.profile import LEAST_INTERVAL, MOST_INTERVAL
from aimq.settings import Settings
from aimq.telemetry import configure_logging
from ml_service import drift_routes, models, openapi, rate_limit, simulated_model, v2
from ml_service.admission import Admission
from ml_service.aimd import Aimd
from ml_service.catalogue import Catalogue
from ml_service.context import ServiceContext
from ml_service.drift_routes import DriftMetrics
from ml_service.endpoint import AsgiRoute, Endpoint
from ml_service.metrics import ServiceMetrics
from ml_service.predict import BodyBudget, Predict
from ml_service.rate_limit import RateLimit
from ml_service.runtimes.connect import connect_runtimes
from ml_service.version import ONNX, PICKLE

logger = logging.getLogger(__name__)

#: How sure a number is to be, as the routes document it.
_Interval = Annotated[
    int | None,
    Query(
        ge=LEAST_INTERVAL,
        le=MOST_INTERVAL,
        description="Percentage of an interval around each number, if wanted.",
    ),
]
#: Largest bodies that may be held at one time, in number.
_HELD_BODIES: Final = 4


class MlService(FastAPI):
    """The framework's application.

    Its middleware and router take 27 µs, a third of a prediction: the endpoints of its routes that
    have a fixed path and an ASGI application are called without them.

    Attributes:
        catalogue: the models; the OpenAPI document describes records of the default.
        shortcuts: path to the guarded endpoint of the route for POST there.
    """

    catalogue: Catalogue
    shortcuts: dict[str, ASGIApp]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self.shortcuts.get(scope["path"])
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        version = self.catalogue.default.peek()
        served = version.name if version else None
        document = self.openapi_schema
        if document is None or document["info"]["x-model-version"] != served:
            self.openapi_schema = None
            document = super().openapi()
            document["info"]["x-model-version"] = served
            described = openapi.schemas(version.schema if version else None)
            document["components"].setdefault("schemas", {}).update(described)
        return document


def create_app(settings: Settings, registry: CollectorRegistry | None = None) -> MlService:
    """Build the service from its settings. Models are loaded once it is started (lifespan).

    Args:
        registry: where its metrics are registered; one of its own by default.
    """
    registry = registry or _process_registry()
    storage = rate_limit.connect_storage(settings)
    rate = RateLimit(settings.rate_limit, storage, parts=1 if storage else settings.workers)
    policy = Aimd(lag=settings.latency_target_ms / 2000)  # the rest is for the answer itself
    context = ServiceContext(
        settings=settings,
        catalogue=Catalogue(
            settings.models_dir,
            settings.model_name,
            connect_runtimes(settings),
            settings.models_memory_mb * 1024 * 1024,
        ),
        metrics=ServiceMetrics(registry),
        rate=rate,
        admission=Admission(rate, policy, registry),
        threads=ThreadPool(settings.concurrency, "ml"),
    )
    app = MlService(
        title="AIMQ ML service",
        summary="Predictions from ONNX and pickled models.",
        version=__version__,
        lifespan=partial(_running, context),
        dependencies=[documentation.API_KEY],
        docs_url=None,
        redoc_url=None,
    )
    app.catalogue = context.catalogue
    DriftMetrics(context.catalogue, registry)
    problems.install(app)
    documentation.install(app)
    _add_routes(app, context)
    app.router.routes.extend(
        probes.routes(probes.needing_all({"models": context.catalogue.check}), registry)
    )
    return app


@contextlib.asynccontextmanager
async def _running(context: ServiceContext, _: FastAPI) -> AsyncIterator[None]:
    """Serve versions, follow the load, share counts, measure drift while the block runs."""
    async with context.catalogue.running():
        rounds = (
            context.admission.follow_load(),
            context.rate.keep_sharing(),
            drift_routes.keep_measuring(context.catalogue),
        )
        tasks = [asyncio.create_task(each) for each in rounds]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.to_thread(context.threads.close, wait=True)


def _add_routes(app: MlService, context: ServiceContext) -> None:
    guard = partial(
        Guard,
        settings=context.settings,
        open_paths=v2.HEALTH_PATHS,
        on_refusal=context.metrics.refused,
    )
    app.add_middleware(guard)
    predictions = _predictions(context)
    app.shortcuts = {
        route.path: guard(route.app) for route in predictions if not route.param_convertors
    }
    app.router.routes.extend([*predictions, *_inference(context)])
    app.include_router(v2.routes(context))
    limited = rate_limit.limit_routes(app, context.settings, context.rate)
    app.include_router(models.routes(context.catalogue, limited))
    app.include_router(drift_routes.routes(context.catalogue, limited))
    app.include_router(simulated_model.routes(context.settings, limited))


def _predictions(context: ServiceContext) -> list[AsgiRoute]:
    async def predict_onnx(interval: _Interval = None) -> None:
        """Predict with the cached ONNX model."""

    async def predict_pickle(interval: _Interval = None) -> None:
        """Predict with the pickle, loaded from disk at every request: the slow baseline."""

    async def predict_by_name(name: str, interval: _Interval = None) -> None:
        """Predict with a model by its name; it is loaded if it is not."""

    budget = BodyBudget(_HELD_BODIES * context.settings.max_upload_mb * 1024 * 1024)

    def route(
        path: str, documented: Callable[..., Any], model_format: str, options: dict[str, Any]
    ) -> AsgiRoute:
        answer = Predict(context, model_format, budget, by_name="{name}" in path)
        endpoint = Endpoint(answer, context.admission, context.metrics.route(path))
        return AsgiRoute(path, documented, endpoint, **options)

    return [
        route("/predict/onnx", predict_onnx, ONNX, openapi.PREDICT),
        route("/predict/pickle", predict_pickle, PICKLE, openapi.PREDICT_PICKLE),
        route("/models/{name}/predict", predict_by_name, ONNX, openapi.PREDICT_BY_NAME),
    ]


def _inference(context: ServiceContext) -> list[AsgiRoute]:
    answer = v2.Infer(context)
    routes = []
    for path, documented in v2.INFERENCE.items():
        endpoint = Endpoint(answer, context.admission, context.metrics.route(path), v2.problem)
        routes.append(AsgiRoute(path, documented, endpoint, **openapi.INFER))
    return routes


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
    serve(for_all(create_app(settings), worker, MODEL_CHANGES), socks, settings)
    return 0
