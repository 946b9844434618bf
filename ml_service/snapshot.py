"""What a models folder says at one time: which version of each model to serve, and its canary.

Everything here blocks. A folder whose name begins with a dot, or could not stand in a path of the
API as it is, is no model.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from aimq import published
from aimq.errors import NotFound
from ml_service import canary
from ml_service.canary import Canary

#: Name of a version and time of its manifest: changes with each publication.
Mark = tuple[str, int]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class Snapshot(NamedTuple):
    """What one model's folder says.

    Attributes:
        mark: of the version to serve.
        canary: None if there is none beside that version.
    """

    mark: Mark
    canary: Canary | None


def take_snapshot(models_dir: Path, name: str) -> Snapshot:
    """Look at the folder of a model. Raises `NotFound` when nothing is published."""
    asked = canary.read(models_dir / name)  # before `current`, which a canary is written after
    version = published.current_version(models_dir, name)
    beside = asked if asked is not None and asked.beside == version else None
    return Snapshot(mark_of(models_dir, name, version), beside)


def take_snapshots(models_dir: Path, default: str) -> dict[str, Snapshot]:
    """Look at the default and at every other folder; leaves out where nothing is published."""
    snapshots = {}
    for name in (default, *sorted(_folders(models_dir) - {default})):
        try:
            snapshots[name] = take_snapshot(models_dir, name)
        except NotFound:
            continue
    return snapshots


def _folders(models_dir: Path) -> set[str]:
    try:
        with os.scandir(models_dir) as entries:
            return {e.name for e in entries if _NAME.fullmatch(e.name) and e.is_dir()}
    except FileNotFoundError:
        return set()


def mark_of(models_dir: Path, name: str, version: str) -> Mark:
    """Return the mark of a version."""
    try:
        return version, (models_dir / name / version / published.MANIFEST).stat().st_mtime_ns
    except OSError:  # deleted a moment ago; loading it says so
        return version, 0
