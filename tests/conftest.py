"""Fixtures of every kind of test."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from aimq.settings import Settings

pytest_plugins = ["tests.servers.plugin"]


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
