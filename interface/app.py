"""Composition root of the interface: the application, its background tasks, its start and end."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from aimq import __version__
from aimq.broker.port import Broker
from aimq.errors import FilesUnavailable, StoreUnavailable, TransientError
from aimq.files import FileStore
from aimq.http import documentation, probes, problems, serve
from aimq.http.guard import Guard
from aimq.jobs.port import JobStore
from aimq.ml_client.relay import MlRelay
from aimq.settings import Settings
from interface import comeback, dead_letters, factorial, jobs, openapi, page, tasks, uploads
from interface.background import forever
from interface.context import Context
from interface.orphans import delete_orphans
from interface.predictions import Predict
from interface.sweep import expire, sweep

#: A probe's longest wait for the store or the files, in seconds.
_PROBE_SECONDS = 3.0
_KIB = 1024
_PREDICT = "/predict"
_WATCH = re.compile("/(?P<kind>[a-z]+)/(?P<job_id>[^/]+)/events")
#: The page itself holds no data; what it then asks for needs the key.
_GUARDED: Final[dict[str, Any]] = {
    "open_paths": page.PATHS,
    "computing": (factorial.PATH, "/factorial/sync"),
}
_ABOUT = "Takes spreadsheets and single records, and gives predictions."

logger = logging.getLogger(__name__)


class Interface(FastAPI):
    """The framework's application, with what is asked for most answered before its routing.

    Attributes:
        direct: answers requests by method and path, guarded as all else is.
        streams: likewise WebSockets, by the first part of their path.
    """

    direct: dict[tuple[str, str], ASGIApp]
    streams: dict[str, ASGIApp]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        app: ASGIApp | None = None
        if scope["type"] == "http":
            app = self.direct.get((scope["method"], scope["path"]))
        elif scope["type"] == "websocket" and (watch := _WATCH.fullmatch(scope["path"])):
            app = self.streams.get(watch["kind"])
            scope["path_params"] = {"job_id": watch["job_id"]}
        if app is None:
            await super().__call__(scope, receive, send)
        else:
            await app(scope, receive, send)


def create_app(
    settings: Settings, broker: Broker, store: JobStore, files: FileStore, ml: MlRelay
) -> Interface:
    """Return the application on the given ports, which stay the caller's to close.

    It starts, and takes uploads, also while broker and ML service are away.
    """
    context = Context(settings, broker, store, files, ml)
    app = Interface(
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
    app.add_exception_handler(TransientError, _transient)
    app.router.routes.extend(_probes(context))
    app.router.routes.extend(page.routes(context))
    documentation.install(app)
    for module in (uploads, jobs, tasks, factorial, dead_letters):
        app.include_router(module.router(context))
    app.add_middleware(Guard, settings, **_GUARDED)
    predict = Predict(ml, context.metrics, settings.max_body_kb * _KIB)
    app.direct = {
        ("POST", _PREDICT): predict,
        ("POST", tasks.PATH): tasks.PredictAsync(context),
        ("GET", factorial.PATH): factorial.AskFactorial(context),
    }
    for (method, path), direct in app.direct.items():
        app.router.routes.insert(0, _only(method, path, direct))  # other methods: 405
        app.direct[method, path] = _guarded(app, direct, settings)
    app.streams = {
        "jobs": _guarded(app, jobs.stream(context), settings),
        "results": _guarded(app, tasks.stream(context), settings),
    }
    app.openapi = partial(_openapi, app, context)  # type: ignore[method-assign] # FastAPI's way
    return app


def run(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; returns the exit code. Raises `SettingsError`."""
    # Adapters are imported where one is chosen, so that none loads another's library.
    from aimq.broker.connect import connect_broker  # noqa: PLC0415
    from aimq.files import connect_files  # noqa: PLC0415
    from aimq.jobs.connect import connect_store  # noqa: PLC0415

    settings.refuse_open_door(settings.interface_host)
    ml = MlRelay(settings.ml_url, settings.internal_token, settings.ml_timeout_seconds)
    sock = serve.bind(settings.interface_host, settings.interface_port, "AIMQ_INTERFACE_PORT")
    with sock:
        broker, store = connect_broker(settings), connect_store(settings)
        try:
            app = create_app(settings, broker, store, connect_files(settings), ml)
            logger.info("listening on %s", serve.address(sock))
            serve.serve(app, sock, settings)
        finally:
            broker.close()
            store.close()
    return 0


def _only(method: str, path: str, direct: ASGIApp) -> Route:
    """Return a route of one method. HEAD is none of GET's: it would make work."""
    route = Route(path, direct)
    route.methods = {method}
    return route


def _guarded(app: FastAPI, direct: ASGIApp, settings: Settings) -> ASGIApp:
    """Return what does for an application of ours as the framework does for its routes."""
    guarded = Guard(direct, settings, **_GUARDED)
    return ServerErrorMiddleware(guarded, app.exception_handlers[Exception])


def _lifespan(context: Context) -> Any:  # noqa: ANN401 # Starlette names no type for it
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        context.events.start()
        rounds = (
            forever("schema of the ML service", context.schema.refresh, 5.0),
            forever("queue counts", context.backlog.refresh, 1.0),
            forever("sweep of unpublished jobs", partial(sweep, context), 1.0),
            forever("deletion of expired jobs", partial(expire, context), _janitor(context)),
            forever("deletion of orphaned files", partial(delete_orphans, context), 3600.0),
        )
        tasks = [asyncio.create_task(coroutine) for coroutine in rounds]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            context.events.stop()
            await context.recorder.close()
            await context.publisher.close()
            context.ml.close()
            context.close()
            await asyncio.sleep(0)  # transports end in the loop's next round

    return lifespan


def _janitor(context: Context) -> float:
    """Return the seconds between two deletions: what has expired is not kept for much longer."""
    return min(30.0, context.settings.result_ttl_seconds / 4)


def _probes(context: Context) -> list[Route]:
    """Readiness needs the store and the files; the rest may be away and is only reported."""

    async def store() -> None:
        await _in_time(context, context.store.check, StoreUnavailable("the store does not answer"))

    async def files() -> None:
        await _in_time(context, context.files.check, FilesUnavailable("no answer of the files"))

    def reported() -> dict[str, str]:
        return {
            "broker": context.backlog.problem or "up",
            "ml_service": context.schema.problem or "up",
        }

    return probes.routes(
        {"store": store, "files": files}, context.metrics.registry, reported=reported
    )


async def _in_time(context: Context, check: Any, late: TransientError) -> None:  # noqa: ANN401
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            await context.threads.run(check)
    except TimeoutError:
        raise late from None


async def _transient(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, TransientError)  # noqa: S101 # registered for it
    return problems.response(comeback.timed(exc))


def _openapi(app: FastAPI, context: Context) -> dict[str, Any]:
    """Return the document, with the route FastAPI does not see and the present schema in it."""
    document = FastAPI.openapi(app)
    document["paths"][_PREDICT] = openapi.predict_path(context.schema.schema)
    document["paths"][factorial.PATH] = openapi.factorial_path()
    document["paths"][tasks.PATH] = openapi.predict_async_path(context.schema.schema)
    for path in (_PREDICT, factorial.PATH, tasks.PATH):
        for operation in document["paths"][path].values():
            operation["security"] = [{"APIKeyHeader": []}]
    return document
