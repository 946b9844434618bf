"""The interface in process, on the real embedded adapters and a stand-in for the ML service."""

from __future__ import annotations

import asyncio
import io
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, nullcontext

import httpx
import openpyxl
import pytest
import pytest_asyncio
import uvicorn
import websockets

from aimq.files import connect_files
from aimq.files.keys import new_result_key
from aimq.jobs.job import Status
from aimq.jobs.port import Outcome
from aimq.ml_client.relay import MlRelay
from aimq.settings import Settings
from interface.app import create_app
from tests.integration.interface.stub_ml import COLUMNS, StubMl
from tests.system import PATIENCE, environment, wait_ready


@pytest.fixture
def ml():
    stub = StubMl()
    yield stub
    stub.stop()


@pytest.fixture
def settings(tmp_path, ml):
    return Settings(data_dir=tmp_path / "data", ml_url=ml.url, max_upload_mb=1)


@pytest.fixture
def files(settings):
    return connect_files(settings)


@asynccontextmanager
async def serving(settings, broker, store, files):
    """Run the application through its life span; gives an HTTP client with `app` on it."""
    relay = MlRelay(settings.ml_url, settings.internal_token, 5.0)
    app = create_app(settings, broker, store, files, relay)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            client.app = app
            client.context = app.state.context
            yield client


@asynccontextmanager
async def listening(settings, broker, store, files):
    """Do as `serving`, behind a real server on a free port."""
    async with serving(settings, broker, store, files) as inner:
        config = uvicorn.Config(inner.app, log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        server.capture_signals = nullcontext  # the test tool keeps its own
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            task = asyncio.create_task(server.serve([sock]))
            while not server.started:
                await asyncio.sleep(0)
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=url) as client:
                client.app, client.context = inner.app, inner.context
                yield client
            server.should_exit = True
            await task


@pytest_asyncio.fixture
async def door(settings, broker, store, files):
    """Yield a client of an interface that has learnt the schema."""
    async with serving(settings, broker, store, files) as client:
        await client.context.schema.refresh()
        yield client


def workbook(*rows, header=COLUMNS):
    book = openpyxl.Workbook()
    book.active.append(header)
    for values in rows or [("A", "Asta", 10_000, 4)]:
        book.active.append(values)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


async def upload(client, content=None, name="cars.xlsx"):
    content = workbook() if content is None else content
    return await client.post("/upload", files={"file": (name, content)})


def settle(store, job_id, status, error=None, **counts):
    """Work on a job as a batch processor does."""
    (claim,) = store.claim([job_id], "test", 30.0)
    assert store.settle(
        [Outcome(claim=claim, status=Status(status), error=error, counts=counts)]
    ) == [True]


def finish(store, files, job_id, content=b"result"):
    (claim,) = store.claim([job_id], "test", 30.0)
    key = new_result_key(claim)
    files.put(key, io.BytesIO(content))
    counts = {"rows_total": 1, "rows_done": 1}
    outcome = Outcome(claim=claim, status=Status.DONE, result_key=key, counts=counts)
    assert store.settle([outcome]) == [True]


class Process:
    def __init__(self, environ):
        self.url = f"http://127.0.0.1:{environ['AIMQ_INTERFACE_PORT']}"
        self.popen = subprocess.Popen([sys.executable, "-m", "aimq", "interface"], env=environ)
        wait_ready(self.popen, self.url)

    def events(self, job_id, **options):
        url = self.url.replace("http", "ws")
        return websockets.connect(f"{url}/jobs/{job_id}/events", proxy=None, **options)

    def stop(self):
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(PATIENCE)


@pytest.fixture
def process(settings, tmp_path):
    environ = environment(settings.data_dir, tmp_path, AIMQ_ML_URL=settings.ml_url)
    process = Process(environ)
    yield process
    if process.popen.poll() is None:
        process.stop()
