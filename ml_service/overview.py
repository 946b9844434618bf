"""What is known of a version without its models."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aimq import published
from aimq.errors import ModelRefused
from aimq.published import Manifest
from aimq.schema import Schema, load_schema

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Overview:
    """A version without its models."""

    manifest: Manifest
    schema: Schema
    metrics: Mapping[str, Any]


def read_overview(folder: Path) -> Overview:
    """Read a version's small files. Blocks. Raises `ModelRefused` when one is damaged."""
    manifest = published.read_manifest(folder)
    schema = load_schema(published.verified(folder, manifest, "schema.toml"))
    return Overview(manifest, schema, _read_metrics(folder, manifest))


def _read_metrics(folder: Path, manifest: Manifest) -> Mapping[str, Any]:
    """Return what training measured; empty, and logged, when it cannot be read."""
    try:
        path = published.verified(folder, manifest, "metrics.json")
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (ModelRefused, OSError, msgspec.MsgspecError) as exc:
        logger.warning("metrics of version %s cannot be shown: %s", manifest.version, exc)
        return {}
