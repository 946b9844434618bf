"""``aimq import``: publish an ONNX model that was made elsewhere."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from aimq.cli.mendable import mendable
from aimq.errors import NotInstalled
from aimq.settings import load_settings


def import_model(
    model: Annotated[
        Path, typer.Argument(help="ONNX file; of a schema with groups a folder of <group>.onnx.")
    ],
    schema: Annotated[Path, typer.Option(help="Description of the input (schema.toml).")],
    name: Annotated[str, typer.Option(help="Name of the model, instead of the schema's.")] = "",
) -> None:
    """Check an ONNX model, try it, and publish it without training."""
    if find_spec("onnx") is None:
        raise NotInstalled(
            "This installation has no onnx, so that it cannot look into models. Import with the "
            "default image or all of the packages, into the same models folder."
        )
    settings = load_settings()
    etl = importlib.import_module("etl.import_onnx")
    with mendable():
        manifest = etl.run(settings, model, schema, name=name, say=typer.echo)
    typer.echo(f"Published {settings.models_dir / manifest.name / manifest.version}")
