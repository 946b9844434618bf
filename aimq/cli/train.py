"""``aimq train``: from a table to a published model version."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from aimq.errors import NotInstalled
from aimq.parent_watchdog import watch_parent
from aimq.published import versions
from aimq.settings import load_settings
from aimq.telemetry import configure_logging


def train(
    source: Annotated[
        Path | None,
        typer.Option(help="CSV or Excel table; without it, synthetic used-car sales."),
    ] = None,
    schema: Annotated[
        Path | None, typer.Option(help="Description of the table (schema.toml).")
    ] = None,
    trees: Annotated[int, typer.Option(min=1, help="Trees per forest.")] = 100,
    leaf: Annotated[int, typer.Option(min=1, help="Fewest samples in a leaf.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of split, forest and synthetic data.")] = 42,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing when a version is published.")
    ] = False,
    parent: Annotated[int, typer.Option(hidden=True, help="End when this process ends.")] = 0,
) -> None:
    """Clean a table, train one forest per group, check it, and publish the version."""
    watch_parent(parent)
    settings = load_settings()
    if if_missing and versions(settings.models_dir, settings.model_name):
        return
    if find_spec("sklearn") is None or find_spec("skl2onnx") is None:
        raise NotInstalled(
            "This installation has no scikit-learn and skl2onnx, so that it cannot train. Train "
            "with the default image or all of the packages, into the same models folder."
        )
    configure_logging(settings, "etl")
    pipeline = importlib.import_module("etl.pipeline")
    pipeline.run(settings, source=source, schema=schema, trees=trees, leaf=leaf, seed=seed)
