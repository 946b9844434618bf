"""Composition root of the interface: the application, its background tasks, its start and end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any, Final

from fastapi import FastAPI

from aimq import __version__
from aimq.broker.port import Broker
from aimq.files import FileStore
from aimq.http import documentation, problems, serve
from aimq.http.guard import Guard
from aimq.http.workers import Worker, for_all, listen, supervise
from aimq.jobs.port import JobStore
from aimq.ml_client.relay import MlRelay
from aimq.settings import Settings
from interface import (
    dead_letters,
    factorial_reports,
    factorials,
    jobs,
    models,
    page,
    predictions,
    readiness,
    tasks,
    template,
    training,
    uploads,
)
from interface.background import forever
from interface.context import Context
from interface.orphans import delete_orphans
from interface.record_schemas import components
from interface.sweep import expire, republish_lost, sweep

_ABOUT: Final = "Takes spreadsheets and single records, and gives predictions."
_ROUTERS: Final = (
    tasks, jobs, uploads, models, template, training, factorials, factorial_reports, dead_letters,
)  # fmt: skip

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings, broker: Broker, store: JobStore, files: FileStore, ml: MlRelay
) -> FastAPI:
    """Return the application on the given ports, which the caller closes.

    It starts while broker, store and ML service are away.
    """
    context = Context(settings, broker, store, files, ml)
    app = FastAPI(
        title="AIMQ interface",
        description=_ABOUT,
        version=__version__,
        lifespan=_lifespan(context),
        dependencies=[documentation.API_KEY],
        docs_url=None,
        redoc_url=None,
    )
    app.state.context = context
    problems.install(app)
    # Its requests would take half as long again by way of an included router.
    app.router.routes.extend(predictions.router(context).routes)
    for module in _ROUTERS:
        app.include_router(module.router(context))
    app.router.routes.extend(readiness.routes(context))
    app.router.routes.extend(page.routes(context))
    documentation.install(app)
    app.add_middleware(
        Guard, settings=settings, open_paths=page.PATHS, computing=factorials.COMPUTING
    )
    app.openapi = partial(_openapi, app, context)  # type: ignore[method-assign] # FastAPI's way
    return app


def run(settings: Settings, worker: Worker | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; returns the exit code. Raises `SettingsError`."""
    # Adapters are imported where one is chosen, so that none loads another's library.
    from aimq.broker.connect import connect_broker  # noqa: PLC0415
    from aimq.files import connect_files  # noqa: PLC0415
    from aimq.jobs.connect import connect_store  # noqa: PLC0415

    settings.refuse_open_door(settings.interface_host)
    door = settings.interface_host, settings.interface_port, "AIMQ_INTERFACE_PORT"
    if settings.workers > 1 and worker is None:
        return supervise("interface", *door, settings)
    ml = MlRelay(settings.ml_url, settings.internal_token, settings.ml_timeout_seconds)
    socks = listen(*door, worker)
    with closing(socks[0]):
        broker, store = connect_broker(settings), connect_store(settings)
        try:
            app = create_app(settings, broker, store, connect_files(settings), ml)
            logger.info("listening on %s", serve.address(socks[0]))
            serve.serve(for_all(app, worker), socks, settings)
        finally:
            broker.close()
            store.close()
    return 0


def _lifespan(context: Context) -> Any:  # noqa: ANN401 # Starlette names no type for it
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        context.events.start()
        rounds = (
            forever("schema of the ML service", context.schema.refresh, 5.0),
            forever("queue counts", context.queues.refresh, 1.0),
            forever("sweep of unpublished jobs", partial(sweep, context), 1.0),
            forever("sweep of lost messages", partial(republish_lost, context), 30.0),
            forever("deletion of expired jobs", partial(expire, context), _expiry_round(context)),
            forever("deletion of orphaned files", partial(delete_orphans, context), 3600.0),
        )
        running = [asyncio.create_task(coroutine) for coroutine in rounds]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            context.events.stop()
            await context.writer.close()
            context.ml.close()
            context.close()
            await asyncio.sleep(0)  # transports end in the loop's next round

    return lifespan


def _expiry_round(context: Context) -> float:
    """Return the seconds between two deletions: an expired job is not kept for much longer."""
    return min(30.0, context.settings.result_ttl_seconds / 4)


def _openapi(app: FastAPI, context: Context) -> dict[str, Any]:
    """Return the document with the schemas of the models in service."""
    document = FastAPI.openapi(app)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(components(context.schema))
    return document
