"""``aimq train``: from a table to a published model version."""

from __future__ import annotations

import importlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from aimq.cli.mendable import mendable
from aimq.errors import Invalid, NotInstalled
from aimq.parent_watchdog import watch_parent
from aimq.published import REPORT, Manifest, versions
from aimq.schema import Task
from aimq.settings import Settings, load_settings
from aimq.telemetry import configure_logging


def train(
    table: Annotated[
        Path | None,
        typer.Argument(help="CSV, Excel or Parquet file; without it, synthetic used-car sales."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Column to predict.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Column whose values get a model each; none by default.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the model; the file's by default.")] = None,
    task: Annotated[
        Task | None, typer.Option(help="By default what the target's values suggest.")
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(help="Description of the table (schema.toml); inferred by default."),
    ] = None,
    budget: Annotated[
        float, typer.Option(min=1, help="Seconds for the comparison of models.")
    ] = 60,
    trees: Annotated[int, typer.Option(min=1, help="Trees per forest.")] = 100,
    leaf: Annotated[int, typer.Option(min=1, help="Fewest samples in a leaf.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of split, models and synthetic data.")] = 42,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing when a version is published.")
    ] = False,
    source: Annotated[Path | None, typer.Option(help="The table, as --source TABLE.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was published as JSON, as the last line.")
    ] = False,
    parent: Annotated[int, typer.Option(hidden=True, help="End when this process ends.")] = 0,
) -> None:
    """Learn to predict a column of a table: clean it, compare models, check and publish the best.

    The schema of the table is inferred, shown, and written to NAME.schema.toml to edit.
    """
    watch_parent(parent)
    settings = load_settings()
    if if_missing and versions(settings.models_dir, name or settings.model_name):
        return
    if find_spec("sklearn") is None or find_spec("skl2onnx") is None:
        raise NotInstalled(
            "This installation has no scikit-learn and skl2onnx, so that it cannot train. Train "
            "with the default image or all of the packages, into the same models folder."
        )
    configure_logging(settings, "etl")
    pipeline = importlib.import_module("etl.pipeline")
    with mendable():
        if table is not None and source is not None:
            raise Invalid("Give the table once: as an argument, or with --source.")
        manifest = pipeline.run(
            settings,
            source=table or source,
            schema=schema,
            target=target,
            group=group,
            name=name,
            task=task,
            trees=trees,
            leaf=leaf,
            seed=seed,
            budget=budget,
            edit=Path(),
        )
    if as_json:
        print(json.dumps(_published(settings, manifest)))


def _published(settings: Settings, manifest: Manifest) -> dict[str, Any]:
    folder = settings.models_dir / manifest.name / manifest.version
    metrics = json.loads((folder / "metrics.json").read_bytes())
    scores = ("chosen", "model", "baseline")
    return {
        "name": manifest.name,
        "version": manifest.version,
        "path": str(folder),
        "report": str(folder / REPORT),
        "task": metrics["task"],
        "groups": {
            group: {key: report[key] for key in scores}
            for group, report in metrics["groups"].items()
        },
    }
