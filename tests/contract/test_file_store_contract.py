from __future__ import annotations

import io
import time
import uuid
from unittest.mock import Mock

import boto3
import fsspec
import pytest

pytest.register_assert_rewrite("tests.contract.file_store_contract")

from aimq.errors import FilesUnavailable  # noqa: E402
from aimq.files.objects import ObjectFiles  # noqa: E402
from tests.contract.file_store_contract import KEY, FileStoreContract, content  # noqa: E402


class TestLocalFiles(FileStoreContract):
    @pytest.fixture
    def environment(self, tmp_path):
        return {"AIMQ_FILES_URL": f"file://{tmp_path / 'a folder 100%25'}"}


class TestS3Files(FileStoreContract):
    @pytest.fixture
    def environment(self, s3_access):
        bucket = uuid.uuid4().hex
        client = boto3.client("s3")
        client.create_bucket(Bucket=bucket)
        client.close()
        return {"AIMQ_FILES_URL": f"s3://{bucket}/some/pre fix%20"}


class TestStagedFiles(FileStoreContract):
    """A file system that shows a file while it is written: here the local one, through fsspec."""

    @pytest.fixture
    def environment(self, tmp_path, monkeypatch):
        def connect(url, **options):
            assert options["use_listings_cache"] is False
            return fsspec.filesystem("file"), url.removeprefix("sftp://host")

        monkeypatch.setattr("fsspec.core.url_to_fs", connect)
        return {"AIMQ_FILES_URL": f"sftp://host{tmp_path / 'a folder'}"}

    def test_it_is_not_taken_for_an_object_store(self, files):
        assert isinstance(files, ObjectFiles)
        assert files._whole is False

    #: Another process would not have the stand-in; see the next one instead.
    test_a_killed_writer_leaves_no_part_of_a_file = None

    def test_a_writer_that_fails_to_move_leaves_nothing(self, files, monkeypatch):
        files.put(KEY, io.BytesIO(b"whole"))
        monkeypatch.setattr(files._fs, "mv", Mock(side_effect=OSError("cut off")))
        with pytest.raises(FilesUnavailable, match="cut off"):
            files.put(KEY, io.BytesIO(b"half"))
        assert content(files, KEY) == b"whole"
        assert files._fs.find(f"{files._root}/.staging") == []

    def test_the_folder_of_a_job_goes_with_its_last_result(self, files):
        for name in ("one", "two"):
            files.put(f"results/job/{name}.xlsx", io.BytesIO(b"x"))
        files.delete("results/job/one.xlsx")
        assert list(files.keys("results")) == ["results/job/two.xlsx"]
        files.delete("results/job/two.xlsx")
        assert files._fs.ls(f"{files._root}/results") == []

    def test_what_killed_writers_left_is_removed_after_a_day(self, files):
        files.check()
        left = f"{files._root}/.staging/left"
        files._fs.pipe_file(left, b"half")
        files.put(KEY, io.BytesIO(b"x"))
        assert files._fs.exists(left)
        files._clock = lambda: time.time() + 100_000
        files.put(KEY, io.BytesIO(b"x"))
        assert not files._fs.exists(left)
