"""Composition root of the batch processor."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from types import FrameType
from typing import Final

import uvicorn
from starlette.applications import Starlette

from aimq.broker.connect import connect_broker
from aimq.broker.port import Broker
from aimq.broker.topology import WORK_QUEUES
from aimq.errors import AimqError
from aimq.factorial_pool import FactorialPool
from aimq.files.connect import connect_files
from aimq.freeze_gc import freeze_gc
from aimq.http.probes import Check, needing_all, routes
from aimq.http.serve import address, bind
from aimq.jobs.connect import connect_store
from aimq.jobs.port import JobStore
from aimq.messages import Kind
from aimq.ml_client.blocking import MlClient
from aimq.published import any_published
from aimq.settings import Settings
from aimq.workbook.reader import WorkbookReader
from batch_processor.claiming import Claims
from batch_processor.consumers import Consumers, consumer_configs
from batch_processor.context import ConsumerContext
from batch_processor.factorials import FactorialHandler
from batch_processor.memory_budget import MemoryBudget, available_memory
from batch_processor.predictions import PredictionHandler
from batch_processor.spreadsheets import SpreadsheetHandler
from batch_processor.training import TrainingHandler
from batch_processor.webhooks import WebhookHandler
from batch_processor.work import Handler, one_by_one

#: Time between two checks for services that are away at the start, in seconds.
_CHECK_SECONDS: Final = 0.5

logger = logging.getLogger(__name__)


def run(settings: Settings, queues: Sequence[str] = WORK_QUEUES) -> int:
    """Work on `queues` until SIGTERM or SIGINT; return the exit code.

    Blocks; call it on the main thread, which gets the signals. What is in hand then is finished or
    put back within ``shutdown_seconds``; a second signal ends the process at once.
    """
    stopping = threading.Event()
    _stop_on_signals(stopping)
    with ExitStack() as stack:
        sock = bind(settings.metrics_host, settings.metrics_port, "AIMQ_METRICS_PORT")
        stack.callback(sock.close)
        broker = stack.enter_context(closing(connect_broker(settings)))
        store = stack.enter_context(closing(connect_store(settings)))
        client = stack.enter_context(closing(MlClient(settings)))
        files = connect_files(settings)
        checks = {
            "broker": broker.check,
            "store": store.check,
            "files": files.check,
            "ml_service": client.check,
        }
        stack.enter_context(_probes(sock, checks))
        pool = stack.enter_context(
            closing(FactorialPool(settings.concurrency, settings.task_seconds))
        )
        reader = stack.enter_context(
            closing(WorkbookReader(settings.max_unpacked_mb, settings.concurrency))
        )
        memory = MemoryBudget(available_memory() // 2, settings.concurrency)
        handlers: dict[Kind, Handler] = {
            Kind.SPREADSHEET: one_by_one(
                SpreadsheetHandler(files, client, reader, memory, settings)
            ),
            Kind.PREDICTION: PredictionHandler(client, settings.max_body_kb * 1024 // 2),
            Kind.FACTORIAL: one_by_one(FactorialHandler(files, pool)),
            Kind.WEBHOOK: one_by_one(WebhookHandler(store, settings)),
            Kind.TRAINING: one_by_one(TrainingHandler(files, settings, available_memory() // 2)),
        }
        awaited = dict(checks)
        if not any_published(settings.models_dir):  # a training makes the first model
            del awaited["ml_service"]
        if not _wait_for(awaited, stopping):
            return 0
        consumers = Consumers(
            broker,
            consumer_context(settings, store, broker),
            consumer_configs(settings, handlers, queues),
        )
        consumers.start()
        freeze_gc()
        logger.info("Working on %s; probes at %s", ", ".join(queues), address(sock))
        stopping.wait()
        logger.info("Stopping: finishing what is in hand")
        consumers.stop(settings.shutdown_seconds)
    return 0


def consumer_context(settings: Settings, store: JobStore, broker: Broker) -> ConsumerContext:
    """Return what the consumers of this process share."""
    owner = f"{socket.gethostname()}:{os.getpid()}"
    return ConsumerContext(
        store=store,
        publish=broker.publish,
        claims=Claims(store, owner, settings.lease_seconds),
        delivery_limit=settings.delivery_limit,
    )


def _wait_for(checks: Mapping[str, Callable[[], None]], stopping: threading.Event) -> bool:
    """Wait until every check passes; log once what is waited for. False if asked to stop."""
    said: set[str] = set()
    while not stopping.is_set():
        missing = {}
        for name, check in checks.items():
            try:
                check()
            except AimqError as exc:
                missing[name] = exc.detail
        if not missing:
            return True
        for name in missing.keys() - said:
            logger.warning("Waiting: %s", missing[name])
        said |= missing.keys()
        stopping.wait(_CHECK_SECONDS)
    return False


def _stop_on_signals(stopping: threading.Event) -> None:
    """Set `stopping` at the first SIGTERM or SIGINT; end the process at the second."""

    def ask(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)


@contextmanager
def _probes(sock: socket.socket, checks: Mapping[str, Callable[[], None]]) -> Iterator[None]:
    """Serve ``/metrics`` and ``/health/*`` from a thread for the length of a ``with`` block."""
    readiness = needing_all({name: _awaited(check) for name, check in checks.items()})
    app = Starlette(routes=routes(readiness))
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run([sock]), name="probes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=1.0)


def _awaited(check: Callable[[], None]) -> Check:
    async def awaited() -> None:
        await asyncio.to_thread(check)

    return awaited
