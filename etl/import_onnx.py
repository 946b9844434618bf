"""Publishing ONNX files that were made elsewhere: checked and tried, not trained."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import tomli_w

from aimq.errors import Invalid, NotFound, TooLarge
from aimq.published import Manifest
from aimq.schema import Schema
from aimq.schema.model import parse_schema
from aimq.settings import Settings
from etl.described_table import given_schema
from etl.onnx_trial import checked
from etl.publish import check_names, draft, stage

#: Largest file, in bytes. Forests of 500 deep trees have a tenth of it.
LARGEST: Final = 500_000_000


def run(
    settings: Settings,
    source: Path,
    schema: Path,
    *,
    name: str = "",
    say: Callable[[str], None] = print,
) -> Manifest:
    """Check ONNX files and publish them as one version, without pickles.

    Args:
        source: an ONNX file; for a schema with groups a folder with ``<group>.onnx`` for each.
        schema: a ``schema.toml``, which says what the columns of the input are.
        name: of the model, instead of the schema's.
        say: gets what a person should know, such as what RedisAI cannot load.

    Raises:
        ClientError: a file is missing, too large, or not such a model; says what to export.
        FilesUnavailable: the models' folder cannot be written.
    """
    described = given_schema(schema)
    if name:
        described = parse_schema({**described.source, "name": name})
    check_names(described)
    files = _files(described, source)
    contents = {group: checked(path, described, say) for group, path in files.items()}
    with stage(settings.models_dir, described.name) as staging:
        sizes = {
            group: {"chosen": "imported", "onnx_bytes": staging.write(f"{group}.onnx", content)}
            for group, content in contents.items()
        }
        metrics = {"task": described.task, "left_out": {}, "groups": sizes}
        staging.write("schema.toml", tomli_w.dumps(dict(described.source)).encode())
        staging.write_json("encoder.json", described.encoder())
        staging.write_json("metrics.json", metrics)
        manifest = draft(described, f"not trained here: imported from {source.name}")
        return staging.publish(manifest, datetime.now(UTC), settings.keep_versions)


def _files(schema: Schema, source: Path) -> dict[str, Path]:
    """Return the file of each group."""
    if schema.group is None:
        files = {schema.groups[0]: source}
    elif source.is_dir():
        files = {group: source / f"{group}.onnx" for group in schema.groups}
    else:
        wanted = ", ".join(f"{group}.onnx" for group in schema.groups)
        raise Invalid(
            f"{source}: the schema has one model for each {schema.group}: give a folder with "
            f"{wanted}, or take [group] out of the schema."
        )
    for path in files.values():
        if not path.is_file():
            raise NotFound(f"{path}: no such file.")
        if path.stat().st_size > LARGEST:
            raise TooLarge(f"{path}: is over {LARGEST // 1_000_000} MB.")
    return files
