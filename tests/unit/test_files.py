import errno
import importlib
import io
import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimq.errors import FilesUnavailable, InternalError, SettingsError
from aimq.files import connect_files
from aimq.files.keys import checked, job_of
from aimq.files.local import LocalFiles
from aimq.settings import Settings

KEY = "uploads/0f.xlsx"


@given(st.text())
def test_a_key_that_is_taken_stays_below_the_root(key):
    try:
        checked(key)
    except InternalError:
        return
    path = Path("/srv/of/store") / key
    assert Path(os.path.normpath(path)) == path
    assert path.is_relative_to("/srv/of/store")
    assert not any(part.startswith(".") for part in path.parts)


@given(
    st.from_regex(r"uploads/[0-9a-f]{32}\.xlsx", fullmatch=True)
    | st.from_regex(r"results/[0-9a-f]{32}/[0-9a-f]{16}\.(xlsx|txt)", fullmatch=True)
)
def test_keys_of_ours_are_taken_and_name_their_job(key):
    assert checked(key) == key
    assert job_of(key) == key[8:40]


def test_the_folder_of_a_job_goes_with_its_last_result(tmp_path):
    files = LocalFiles(tmp_path)
    for name in ("one", "two"):
        files.put(f"results/job/{name}.xlsx", io.BytesIO(b"x"))
    files.delete("results/job/one.xlsx")
    assert list(files.keys("results")) == ["results/job/two.xlsx"]
    files.delete("results/job/two.xlsx")
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize("url", ["", "files", "file://", "s3://", "s3:///", "/srv/files"])
def test_what_is_no_url_of_a_place_is_refused(url):
    settings = Settings(files_url="memory://x").model_copy(update={"files_url": url})
    with pytest.raises(SettingsError, match="AIMQ_FILES_URL"):
        connect_files(settings)


def test_an_unknown_scheme_is_refused():
    with pytest.raises(SettingsError, match=r"AIMQ_FILES_URL.*nosuch"):
        connect_files(Settings(files_url="nosuch://host/path"))


def test_a_password_in_the_url_is_not_shown():
    with pytest.raises(SettingsError) as caught:
        connect_files(Settings(files_url="nosuch://user:pass@word@host/path"))
    assert "word" not in caught.value.detail
    assert "host/path" in caught.value.detail


def test_the_extra_is_named_when_its_package_is_missing(monkeypatch):
    loaded = importlib.import_module("fsspec.registry")._registry  # whatever test ran before
    monkeypatch.delitem(loaded, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    with pytest.raises(SettingsError, match=r'pip install "aimq\[s3\]"'):
        connect_files(Settings(files_url="s3://bucket/prefix"))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "No space left on device; free some space"),
        (errno.EACCES, "Permission denied; give this user the right"),
        (errno.EIO, "check AIMQ_FILES_URL"),
    ],
)
def test_a_disk_that_refuses_is_named_with_what_to_do(tmp_path, monkeypatch, number, advice):
    files = LocalFiles(tmp_path)
    files.put(KEY, io.BytesIO(b"whole"))

    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(FilesUnavailable, match=advice) as caught:
        files.put(KEY, io.BytesIO(b"other"))
    assert str(tmp_path) in caught.value.detail
    assert "\n" not in caught.value.detail
    monkeypatch.undo()
    with files.open(KEY) as stream:
        assert stream.read() == b"whole"
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_root_that_is_a_file_is_unavailable(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    files = LocalFiles(tmp_path / "file")
    for use in (files.check, lambda: files.put(KEY, io.BytesIO(b"x"))):
        with pytest.raises(FilesUnavailable, match="Not a directory"):
            use()
    files.delete(KEY)


def test_a_folder_that_vanishes_is_made_again(tmp_path):
    files = LocalFiles(tmp_path / "files")
    files.put(KEY, io.BytesIO(b"x"))
    (tmp_path / "files").rename(tmp_path / "gone")
    files.put(KEY, io.BytesIO(b"y"))
    with files.local_copy(KEY) as path:
        assert path == tmp_path / "files" / KEY  # no copy is made


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path):
    now = time.time()
    clock = [now]
    files = LocalFiles(tmp_path, clock=lambda: clock[0])
    left = tmp_path / ".staging" / "left"
    files.check()
    left.write_bytes(b"half")
    files.put(KEY, io.BytesIO(b"x"))
    assert left.exists()
    clock[0] = now + 90_000
    files.put(KEY, io.BytesIO(b"x"))
    assert not left.exists()
