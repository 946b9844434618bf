"""What only an S3 server can show, on moto's."""

import io
import socket
import tempfile
from pathlib import Path

import boto3
import pytest

from aimq.errors import FilesUnavailable
from aimq.files import connect_files
from aimq.settings import Settings

KEY = "uploads/0f.xlsx"
MIB = 1024 * 1024


@pytest.fixture
def s3(s3_access):
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    client.close()


def connect(url="s3://bucket/prefix"):
    return connect_files(Settings(files_url=url))


def test_keys_are_objects_under_the_prefix(s3):
    connect().put(KEY, io.BytesIO(b"x"))
    assert s3.get_object(Bucket="bucket", Key=f"prefix/{KEY}")["Body"].read() == b"x"


@pytest.mark.parametrize("size", [20 * MIB, 1])
def test_a_read_whose_object_is_replaced_meanwhile_starts_again(s3, size, monkeypatch):
    files = connect()
    first, second = b"1" * 20 * MIB, b"2" * size
    files.put(KEY, io.BytesIO(first))
    real, opened = files._fs.open, []

    def open_and_replace_under_its_hands(path, *args, **kwargs):
        source = real(path, *args, **kwargs)
        opened.append(source)
        if len(opened) == 1:
            source.read(1)
            source.seek(0)
            s3.put_object(Bucket="bucket", Key=f"prefix/{KEY}", Body=second)
        return source

    monkeypatch.setattr(files._fs, "open", open_and_replace_under_its_hands)
    with files.open(KEY) as stream:
        assert stream.read() == second
    assert len(opened) == 2


def test_a_missing_bucket_is_unavailable(s3):
    files = connect("s3://no-such-bucket/prefix")
    for use in (files.check, lambda: files.put(KEY, io.BytesIO(b"x"))):
        with pytest.raises(FilesUnavailable, match="s3://no-such-bucket/prefix") as caught:
            use()
        assert "\n" not in caught.value.detail


def test_a_server_that_is_not_there_is_unavailable(s3, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    files = connect("s3://bucket/elsewhere")
    for use in (
        files.check,
        lambda: files.put(KEY, io.BytesIO(b"x")),
        lambda: files.open(KEY),
        lambda: list(files.keys("uploads")),
    ):
        with pytest.raises(FilesUnavailable, match="AIMQ_FILES_URL") as caught:
            use()
        assert "\n" not in caught.value.detail


def test_missing_credentials_are_said(s3, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(FilesUnavailable, match=r"(?i)credentials"):
        connect("s3://bucket/nobody").check()


def test_uploads_of_killed_writers_are_ended_after_a_day(s3):
    ours = s3.create_multipart_upload(Bucket="bucket", Key="prefix/uploads/left.xlsx")
    theirs = s3.create_multipart_upload(Bucket="bucket", Key="prefix2/uploads/left.xlsx")
    (initiated, _) = (
        upload["Initiated"].timestamp()
        for upload in s3.list_multipart_uploads(Bucket="bucket")["Uploads"]
    )
    files = connect()
    files._clock = lambda: initiated + 80_000
    files.put(KEY, io.BytesIO(b"x"))
    assert len(s3.list_multipart_uploads(Bucket="bucket")["Uploads"]) == 2
    files._clock = lambda: initiated + 90_000
    files.put(KEY, io.BytesIO(b"x"))
    left = s3.list_multipart_uploads(Bucket="bucket")["Uploads"]
    assert [upload["UploadId"] for upload in left] == [theirs["UploadId"]]
    assert ours["UploadId"] != theirs["UploadId"]


def test_no_temporary_file_is_left(s3, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = connect()
    files.put(KEY, io.BytesIO(b"x" * 10 * MIB))
    with files.local_copy(KEY) as path:
        assert Path(path).parent == tmp_path
    with files.open(KEY) as stream:
        stream.read()
    assert list(tmp_path.iterdir()) == []
