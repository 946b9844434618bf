"""Composition root of the ML service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from aimq import __version__
from aimq.http import documentation, probes, problems
from aimq.http.front import Front
from aimq.http.serve import address, bind, serve
from aimq.settings import Settings
from aimq.telemetry import configure_logging
from ml_service import factorial, models, openapi, v2
from ml_service.access import Access
from ml_service.admission import Gate
from ml_service.bodies import Budget
from ml_service.catalogue import Catalogue
from ml_service.client_rates import ClientRates
from ml_service.endpoint import Endpoint, Handler, ProblemWriter, problem_reply
from ml_service.front import EndpointDesk
from ml_service.limits import Aimd
from ml_service.metrics import ServiceMetrics
from ml_service.predict import Predict
from ml_service.runtimes.connect import connect_runtimes
from ml_service.threads import Threads
from ml_service.version import ONNX, PICKLE

logger = logging.getLogger(__name__)

#: Largest bodies that may be held at one time, in number.
_HELD_BODIES: Final = 4
_SUMMARY: Final = {
    ONNX: "Predict with the cached ONNX model",
    PICKLE: "Predict with the pickle, loaded from disk at every request: the slow baseline",
}


class MlService(FastAPI):
    """The framework's application, with the predictions answered before its routing.

    Attributes:
        direct: path to the endpoint that answers POST there.
        catalogue: the version in service.
        front: refuses requests for these paths, and answers quick ones, before they get here.
    """

    direct: dict[str, Endpoint]
    catalogue: Catalogue
    front: Front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            endpoint = self.direct.get(scope["path"])
            if endpoint is not None and scope["method"] == "POST":
                await endpoint(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document: records are described by the version in service."""
        current = self.catalogue.peek()
        served = current.name if current else None
        document = self.openapi_schema
        if document is None or document["info"]["x-model-version"] != served:
            self.openapi_schema = None
            document = super().openapi()
            document["info"]["x-model-version"] = served
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = problems.SCHEMA
            for way, summary in _SUMMARY.items():
                operation = openapi.predict_operation(way, summary, current)
                document["paths"][f"/predict/{way}"] = {"post": operation}
            for path in v2.INFER_PATHS:
                document["paths"][path] = {"post": openapi.infer_operation(path)}
        return document


def create_app(settings: Settings, registry: CollectorRegistry | None = None) -> MlService:
    """Build the service from its settings. Models are loaded once it is started (lifespan).

    Args:
        registry: where its metrics are registered; one of its own by default.
    """
    registry = registry or _process_registry()
    catalogue = Catalogue(settings.models_dir, settings.model_name, connect_runtimes(settings))
    metrics = ServiceMetrics(registry)
    access = Access(settings)
    counting = ThreadPoolExecutor(1, "rates")  # of its own: large requests must not hold it up
    rates = ClientRates(settings.rate_limit, _rate_storage(settings), counting)
    gate = Gate(access, rates, Aimd(target=settings.latency_target_ms / 1000), registry)

    simulated = factorial.FactorialModel(settings)
    threads = Threads(settings.concurrency, gate.aside)
    budget = Budget(_HELD_BODIES * settings.max_upload_mb * 1024 * 1024)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with catalogue.running(), gate.running():
            yield
        simulated.close()
        await asyncio.to_thread(threads.close)
        await asyncio.to_thread(counting.shutdown)

    app = MlService(
        title="AIMQ ML service",
        summary="Predictions from ONNX and pickled models.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.catalogue = catalogue
    app.direct = {}

    def endpoint(path: str, handler: Handler, problem: ProblemWriter) -> Endpoint:
        made = Endpoint(handler, gate, metrics.route(path), problem)
        app.router.routes.append(Route(path, made, methods=["POST"]))
        return made

    for way in (ONNX, PICKLE):
        path = f"/predict/{way}"
        handler = Predict(way, catalogue, threads, metrics, settings, budget)
        app.direct[path] = endpoint(path, handler, problem_reply)
    for path in v2.INFER_PATHS:
        endpoint(path, v2.Infer(catalogue, threads, metrics, settings), v2.problem)
    app.front = Front(
        {path: EndpointDesk(gate, path, direct) for path, direct in app.direct.items()}
    )
    app.include_router(v2.routes(catalogue, settings))
    problems.install(app)
    app.include_router(models.routes(catalogue, access))
    app.include_router(factorial.routes(simulated, access))
    app.router.routes.extend(probes.routes({"models": catalogue.check}, registry))
    documentation.install(app)
    return app


def _rate_storage(settings: Settings) -> str:
    shared = settings.store_url.startswith(("redis://", "rediss://"))
    return settings.store_url if shared else "memory://"


def _process_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def run(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code."""
    configure_logging(settings, "ml-service")
    settings.refuse_open_door(settings.ml_host)
    sock = bind(settings.ml_host, settings.ml_port, "AIMQ_ML_PORT")
    sys.setswitchinterval(0.001)  # single predictions wait less for the threads of large ones
    logger.info("listening on %s", address(sock))
    app = create_app(settings)
    serve(app, sock, settings, app.front.protocol)
    return 0
