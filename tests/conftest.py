"""Fixtures of every kind of test."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from rich.console import Console

from aimq.settings import Settings

if TYPE_CHECKING:
    from tests.tables import TrainingTable

pytest_plugins = ["tests.servers.plugin"]

# A loaded machine is slow: no test fails for the time that it takes.
settings.register_profile("aimq", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aimq")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes for their argument: those of a workbook hold the time it was made."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(trylast=True)
def pytest_fixture_post_finalizer(fixturedef: pytest.FixtureDef[Any]) -> None:
    """Close the event loop that pytest-asyncio leaves as the current one after a test.

    It closes it itself at the next asynchronous test. Whatever calls `asyncio.run` before that puts
    another in its place, and the garbage collector would find it open in the midst of any test.
    """
    if fixturedef.argname != "event_loop":
        return
    with contextlib.suppress(RuntimeError):  # there is none
        loop = asyncio.get_event_loop_policy().get_event_loop()
        if not getattr(loop, "__pytest_asyncio", False) and not loop.is_running():
            loop.close()


@pytest.fixture(scope="session")
def trained_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one published version of small forests, made by the real pipeline.

    Shared by all tests of a session: read it, copy it, do not change it.
    """
    from etl.pipeline import run  # noqa: PLC0415 - slow to import

    folder = tmp_path_factory.mktemp("trained") / "models"
    run(
        Settings(models_dir=folder, model_name="used_cars"),
        trees=5,
        rows=900,
        jobs=1,
        console=Console(quiet=True),
    )
    return folder


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainingTable]:
    """Four tables unlike cars, by name; see `tests.tables`. Read them, do not change them."""
    from tests.tables import write_tables  # noqa: PLC0415 - slow to import

    return write_tables(tmp_path_factory.mktemp("tables"))
