"""Published model versions on disk: how they are found and checked.

Layout::

    models/<name>/current                 the version in service, one line of text
    models/<name>/<version>/manifest.json written last: a version without one does not exist
    models/<name>/<version>/schema.toml, encoder.json, metrics.json, <group>.onnx, <group>.pkl

Versions are UTC times (``20260131T120000Z``), so that their order by name is their order by age.
``etl`` writes, ``ml_service`` reads; both through this module.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

import msgspec

from aimq.errors import ModelRefused, NotFound

MANIFEST: Final = "manifest.json"
CURRENT: Final = "current"
REPORT: Final = "report.html"
FORMAT: Final = 1
#: What a model may be called: the name stands in paths as it is, and names a folder.
MODEL_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version consists of.

    Attributes:
        files: file name to its SHA-256, hexadecimal: everything but the manifest itself.
        groups: model groups that have an ONNX file and a pickle.
        data: where the training data came from, in words; says so when it is synthetic.
        packages: versions of the libraries that made the files.
    """

    name: str
    version: str
    groups: list[str]
    files: dict[str, str]
    created_at: str
    data: str
    settings: dict[str, str | int | float | bool] = msgspec.field(default_factory=dict)
    packages: dict[str, str] = msgspec.field(default_factory=dict)
    format: int = FORMAT


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions(models_dir: Path, name: str) -> list[str]:
    """Return the published versions of a model, oldest first."""
    return sorted(path.parent.name for path in (models_dir / name).glob(f"[!.]*/{MANIFEST}"))


def any_published(models_dir: Path) -> bool:
    """True if a version of any model is published."""
    return any(models_dir.glob(f"[!.]*/[!.]*/{MANIFEST}"))


def nothing(models_dir: Path, name: str) -> str:
    """Return the sentence on a model that is not published."""
    return f"No model {name!r} in {models_dir}: run `aimq train` first."


def current_version(models_dir: Path, name: str) -> str:
    """Return the version to serve: what ``current`` names, else the newest.

    Raises:
        NotFound: nothing is published; says how to train.
    """
    published = versions(models_dir, name)
    if not published:
        raise NotFound(nothing(models_dir, name))
    try:
        chosen = (models_dir / name / CURRENT).read_text(encoding="utf-8").strip()
    except OSError:
        return published[-1]
    return chosen if chosen in published else published[-1]


def read_manifest(folder: Path) -> Manifest:
    """Read a version's manifest. Raises `ModelRefused` when it is damaged or of another format."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as exc:
        raise ModelRefused(f"{folder / MANIFEST}: cannot be read: {exc}") from exc
    if manifest.format != FORMAT:
        raise ModelRefused(f"{folder / MANIFEST}: format {manifest.format}; {FORMAT} is understood")
    return manifest


def verified(folder: Path, manifest: Manifest, name: str) -> Path:
    """Return the path of a file of the version once its digest is the manifest's.

    Raises:
        ModelRefused: the manifest does not name it, it is missing, or its digest differs.
    """
    expected = manifest.files.get(name)
    if expected is None:
        raise ModelRefused(f"{folder / MANIFEST}: does not name {name}")
    path = folder / name
    try:
        actual = sha256(path)
    except OSError as exc:
        raise ModelRefused(f"{path}: cannot be read: {exc.strerror}") from exc
    if actual != expected:
        raise ModelRefused(f"{path}: SHA-256 is {actual[:12]}…, the manifest says {expected[:12]}…")
    return path
