"""The ML service in process on small trained models, and records of their schema."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
from ml_published import version_folder

from aimq.schema import Schema, load_schema
from aimq.settings import Settings
from benchmarks.sampling import Record, sample_records
from ml_service.app import MlService, create_app


class Service(httpx.AsyncClient):
    """A client of a service that runs in this process."""

    def __init__(self, app: MlService) -> None:
        super().__init__(
            transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=60
        )
        self.app = app

    async def ready(self) -> None:
        async with asyncio.timeout(60):
            while (await self.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving(settings: Settings, *, ready: bool = True) -> AsyncIterator[Service]:
    """Run the service; wait until it is ready unless told not to."""
    app = create_app(settings)
    async with app.router.lifespan_context(app), Service(app) as service:
        if ready:
            await service.ready()
        yield service


@pytest.fixture
def models(trained_models, tmp_path) -> Path:
    """A copy of the trained models that a test may change."""
    return shutil.copytree(trained_models, tmp_path / "models")


@pytest.fixture
def serve():
    return serving


@pytest.fixture(scope="session")
def schema(trained_models) -> Schema:
    return load_schema(version_folder(trained_models) / "schema.toml")


@pytest.fixture(scope="session")
def records(schema) -> Callable[..., list[Record]]:
    """Makes valid, varied records: takes how many, and a seed."""
    return partial(sample_records, schema)


@pytest.fixture(scope="session")
def record(records) -> Record:
    return records(1, seed=5)[0]
