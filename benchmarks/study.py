"""What the studies of the ML service share: request bodies, models, tables, files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from aimq import published
from aimq.published import Manifest
from aimq.schema import load_schema
from benchmarks.sampling import sample_records

RESULTS = Path("results")


def version_folder(models: Path) -> tuple[Path, Manifest]:
    """Return the folder and manifest of the version that is served."""
    folder = models / "used_cars" / published.current_version(models, "used_cars")
    return folder, published.read_manifest(folder)


def bodies(models: Path, count: int) -> list[bytes]:
    """Return records of the published schema as JSON."""
    schema = load_schema(version_folder(models)[0] / "schema.toml")
    return [json.dumps(record).encode() for record in sample_records(schema, count)]


def describe_models(models: Path) -> str:
    """Return the sizes of the model files and how the forests were grown, on one line."""
    folder, manifest = version_folder(models)
    sizes = {
        suffix: sum(path.stat().st_size for path in folder.glob(f"*{suffix}")) / 2**20
        for suffix in (".onnx", ".pkl")
    }
    grown = ", ".join(f"{name} {value}" for name, value in manifest.settings.items())
    return (
        f"{len(manifest.groups)} models, ONNX {sizes['.onnx']:.1f} MiB, "
        f"pickle {sizes['.pkl']:.1f} MiB in all ({grown})"
    )


def write_csv(name: str, rows: list[dict[str, object]]) -> Path:
    """Write rows, which have the same keys, to ``results/<name>.csv``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_plot(name: str, svg: str) -> None:
    """Write a plot to ``results/<name>.svg``."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.svg").write_text(svg, encoding="utf-8")


def print_table(rows: list[dict[str, object]]) -> None:
    """Print rows, which have the same keys, in columns."""
    cells = [list(rows[0]), *([_text(row[key]) for key in row] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    for line in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        print(line[0].ljust(len(first)), *rest, sep="  ")


def _text(value: object) -> str:
    return f"{value:,.3f}" if isinstance(value, float) else str(value)
