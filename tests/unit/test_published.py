from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aimq.errors import ModelRefused, NotFound
from aimq.published import (
    CURRENT,
    MANIFEST,
    current_version,
    read_manifest,
    verified,
    versions,
)


@pytest.fixture
def models(trained_models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_models, tmp_path / "models"))


def only_version(models: Path) -> Path:
    (version,) = versions(models, "used_cars")
    return models / "used_cars" / version


def test_every_file_of_a_version_has_the_digest_that_its_manifest_says(models: Path):
    folder = only_version(models)
    manifest = read_manifest(folder)
    assert manifest.version == folder.name
    assert set(manifest.files) == {path.name for path in folder.iterdir()} - {MANIFEST}
    for name in manifest.files:
        assert verified(folder, manifest, name) == folder / name


def test_a_changed_file_is_refused(models: Path):
    folder = only_version(models)
    with (folder / "A.pkl").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelRefused, match=r"A\.pkl: SHA-256"):
        verified(folder, read_manifest(folder), "A.pkl")


def test_a_missing_file_is_refused(models: Path):
    folder = only_version(models)
    (folder / "A.onnx").unlink()
    with pytest.raises(ModelRefused, match="cannot be read"):
        verified(folder, read_manifest(folder), "A.onnx")


@pytest.mark.parametrize("name", ["D.pkl", "../current", MANIFEST])
def test_a_file_that_the_manifest_does_not_name_is_refused(models: Path, name: str):
    folder = only_version(models)
    with pytest.raises(ModelRefused, match="does not name"):
        verified(folder, read_manifest(folder), name)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"name": 1}', b"\xff"])
def test_a_damaged_manifest_is_refused(models: Path, content: bytes):
    folder = only_version(models)
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(ModelRefused, match="cannot be read"):
        read_manifest(folder)


def test_a_manifest_of_another_format_is_refused(models: Path):
    manifest = only_version(models) / MANIFEST
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ModelRefused, match="format 2"):
        read_manifest(manifest.parent)


def test_nothing_published_says_how_to_train(tmp_path: Path):
    with pytest.raises(NotFound, match="aimq train"):
        current_version(tmp_path, "used_cars")


def test_a_folder_without_a_manifest_is_no_version(models: Path):
    published = versions(models, "used_cars")
    (models / "used_cars" / "29990101T000000Z").mkdir()
    assert versions(models, "used_cars") == published


def test_an_earlier_version_can_be_put_back_into_service(models: Path):
    first = only_version(models)
    shutil.copytree(first, first.with_name("29990101T000000Z"))
    assert current_version(models, "used_cars") == first.name
    (models / "used_cars" / CURRENT).write_text("29990101T000000Z\n")
    assert current_version(models, "used_cars") == "29990101T000000Z"


@pytest.mark.parametrize("content", [None, "", "20000101T000000Z\n"])
def test_without_a_usable_current_the_newest_version_is_served(models: Path, content: str | None):
    current = models / "used_cars" / CURRENT
    current.unlink() if content is None else current.write_text(content)
    assert current_version(models, "used_cars") == only_version(models).name
