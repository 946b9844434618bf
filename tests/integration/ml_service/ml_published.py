"""Published versions on disk, as tests need them: copied, and damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from aimq import published


def version_folder(models: Path) -> Path:
    return models / "used_cars" / published.current_version(models, "used_cars")


def publish_copy(models: Path, version: str, *, current: bool = True) -> Path:
    """Publish the current version again under another name."""
    folder = version_folder(models)
    copy = shutil.copytree(folder, folder.with_name(version))
    manifest = published.read_manifest(folder)
    changed = msgspec.structs.replace(manifest, version=version)
    (copy / published.MANIFEST).write_bytes(msgspec.json.encode(changed))
    if current:
        beside = copy.parent / ".current.new"
        beside.write_text(version)
        beside.replace(copy.parent / published.CURRENT)
    return copy


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Change a published file together with its digest."""
    (folder / name).write_bytes(content)
    manifest = published.read_manifest(folder)
    files = {**manifest.files, name: published.sha256(folder / name)}
    changed = msgspec.structs.replace(manifest, files=files)
    (folder / published.MANIFEST).write_bytes(msgspec.json.encode(changed))
