"""What every adapter of the FileStore port must do.

Not collected by itself. An adapter derives a test class and gives the ``environment`` fixture: the
variables of an empty store that no other test uses. Processes of their own find it by them, too.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from aimq.errors import AimqError, InternalError, NotFound
from aimq.files import FileStore, connect_files
from aimq.settings import Settings, load_settings

MIB = 1024 * 1024
KEY = "uploads/0f.xlsx"
BAD_KEYS = [
    "", "/", "/etc/passwd", "..", "../x", "uploads/../x", "uploads/..", "./x", "uploads//x",
    "uploads/", "uploads/.x", ".staging/x", "a\\b", "a\x00b", "a\nb", "\ud800", "x" * 201,
    "/".join(["x" * 100] * 6),
]  # fmt: skip

WRITER = """
import io, sys
from aimq.files import connect_files
from aimq.settings import load_settings

class Endless(io.RawIOBase):
    sent = 0
    def readable(self):
        return True
    def read(self, size=-1):
        self.sent += 1
        if self.sent == 20:
            print("writing", flush=True)
        return b"half" * 262_144

connect_files(load_settings()).put(sys.argv[1], Endless())
"""


class Broken(io.BytesIO):
    """A stream that ends with an error in its middle, as an upload that is cut off."""

    def __init__(self, size: int, error: Exception) -> None:
        super().__init__(b"x" * size)
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        if block := super().read(min(size or MIB, MIB)):
            return block
        raise self._error


def settings(environment: Mapping[str, str]) -> Settings:
    return load_settings(environ=environment, files_url=environment["AIMQ_FILES_URL"])


def content(files: FileStore, key: str) -> bytes:
    with files.open(key) as stream:
        return stream.read()


class FileStoreContract:
    @pytest.fixture
    def environment(self) -> dict[str, str]:
        raise NotImplementedError

    @pytest.fixture
    def files(self, environment: dict[str, str]) -> Iterator[FileStore]:
        return connect_files(settings(environment))

    def test_a_file_is_read_as_it_was_put(self, environment, files):
        data = bytes(range(256)) * 40
        assert files.put(KEY, io.BytesIO(data)) == len(data)
        other = connect_files(settings(environment))
        assert content(other, KEY) == data
        with other.local_copy(KEY) as path:
            assert path.read_bytes() == data
            assert path.suffix == ".xlsx"

    def test_an_empty_file_is_a_file(self, files):
        assert files.put(KEY, io.BytesIO()) == 0
        assert content(files, KEY) == b""
        assert list(files.keys("uploads")) == [KEY]

    def test_a_large_file_is_read_as_it_was_put(self, files):
        data = os.urandom(20 * MIB + 1)
        assert files.put(KEY, io.BytesIO(data)) == len(data)
        assert content(files, KEY) == data
        with files.local_copy(KEY) as path:
            assert path.read_bytes() == data

    def test_a_stream_is_taken_from_where_it_stands(self, files):
        stream = io.BytesIO(b"before|after")
        stream.seek(7)
        assert files.put(KEY, stream) == 5
        assert content(files, KEY) == b"after"

    def test_what_is_opened_can_be_sought_in_and_not_written(self, files):
        files.put(KEY, io.BytesIO(b"0123456789"))
        with files.open(KEY) as stream:
            stream.seek(4)
            assert stream.read(3) == b"456"
            with pytest.raises(io.UnsupportedOperation):
                stream.write(b"x")

    def test_a_later_put_replaces_the_file(self, files):
        files.put(KEY, io.BytesIO(b"a long first version"))
        files.put(KEY, io.BytesIO(b"second"))
        assert content(files, KEY) == b"second"

    def test_what_was_opened_before_a_replacement_or_deletion_is_read_to_its_end(self, files):
        files.put(KEY, io.BytesIO(b"first"))
        with files.open(KEY) as one, files.open(KEY) as two:
            files.put(KEY, io.BytesIO(b"second"))
            assert one.read() == b"first"
            files.delete(KEY)
            assert two.read() == b"first"

    def test_a_missing_file_is_not_found(self, files):
        with pytest.raises(NotFound, match="There is no file uploads/0f"):
            files.open(KEY)
        with pytest.raises(NotFound, match="There is no file uploads/0f"), files.local_copy(KEY):
            pass
        files.put(KEY, io.BytesIO(b"x"))
        for key in ("uploads", f"{KEY}/below"):
            with pytest.raises(NotFound):
                files.open(key)

    def test_a_deleted_file_is_gone_and_deleting_it_again_is_nothing(self, files):
        files.put(KEY, io.BytesIO(b"x"))
        files.delete(KEY)
        files.delete(KEY)
        files.delete("results/never.xlsx")
        with pytest.raises(NotFound):
            files.open(KEY)
        assert list(files.keys("uploads")) == []

    def test_keys_are_those_of_the_folder(self, environment, files):
        ours = ["uploads/a.xlsx", "uploads/b c%20d.xlsx", "uploads/deep/er/e.xlsx"]
        for key in [*ours, "uploads2/x.xlsx", "results/a.xlsx"]:
            files.put(key, io.BytesIO(b"x"))
        assert sorted(files.keys("uploads")) == ours
        assert list(files.keys("nothing")) == []
        # another process's file is seen by a store that has listed before
        connect_files(settings(environment)).put("results/b.xlsx", io.BytesIO(b"x"))
        assert sorted(files.keys("results")) == ["results/a.xlsx", "results/b.xlsx"]

    def test_keys_of_old_files_are_told_from_those_of_young_ones(self, environment, files):
        for key in ("uploads/a.xlsx", "uploads/deep/b.xlsx"):
            files.put(key, io.BytesIO(b"x"))
        assert list(files.keys("uploads", older_than=3600)) == []
        later = connect_files(settings(environment))
        later._clock = lambda: time.time() + 3660
        assert sorted(later.keys("uploads", older_than=3600)) == [
            "uploads/a.xlsx", "uploads/deep/b.xlsx",
        ]  # fmt: skip
        assert list(later.keys("uploads", older_than=7200)) == []
        assert list(later.keys("nothing", older_than=3600)) == []

    @pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: ascii(key)[:20])
    def test_a_key_that_is_no_plain_relative_path_is_refused(self, files, key):
        for use in (
            lambda: files.put(key, io.BytesIO(b"x")),
            lambda: files.open(key),
            lambda: files.delete(key),
            lambda: list(files.keys(key)),
            lambda: files.local_copy(key).__enter__(),
        ):
            with pytest.raises(InternalError):
                use()

    @pytest.mark.parametrize("size", [100, 10 * MIB])
    def test_a_stream_that_breaks_stores_nothing_and_its_error_passes(self, files, size):
        files.put(KEY, io.BytesIO(b"whole"))
        for error in (AimqError("too large"), ConnectionResetError("client gone")):
            with pytest.raises(type(error)) as caught:
                files.put(KEY, Broken(size, error))
            assert caught.value is error
        assert content(files, KEY) == b"whole"
        assert list(files.keys("uploads")) == [KEY]

    def test_a_reader_sees_whole_files_while_a_writer_replaces_them(self, files):
        versions = [bytes([number]) * (9 * MIB + number) for number in range(4)]
        files.put(KEY, io.BytesIO(versions[0]))
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                files.put(KEY, io.BytesIO(versions[number % 4]))

        with ThreadPoolExecutor(3) as threads:
            writer = threads.submit(write)
            try:
                readers = [threads.submit(content, files, KEY) for _ in range(8)]
                for reader in readers:
                    data = reader.result()
                    assert data == versions[data[0]]
                with files.local_copy(KEY) as path:
                    data = path.read_bytes()
                    assert data == versions[data[0]]
            finally:
                stop.set()
            writer.result()

    def test_many_threads_may_use_one_store(self, files):
        def work(number: int) -> bool:
            key, data = f"uploads/{number}.xlsx", b"%d" % number * 1000
            files.put(key, io.BytesIO(data))
            with files.local_copy(key) as path:
                good = path.read_bytes() == content(files, key) == data
            files.delete(key)
            return good

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(work, range(40)))
        assert list(files.keys("uploads")) == []

    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    def test_a_store_used_before_a_fork_works_after_it(self, files):
        files.put(KEY, io.BytesIO(b"parent"))
        context = multiprocessing.get_context("fork")
        child = context.Process(target=_replace, args=(files, b"parent", b"child"))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert content(files, KEY) == b"child"

    def test_a_killed_writer_leaves_no_part_of_a_file(self, environment, files):
        files.put(KEY, io.BytesIO(b"whole"))
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, KEY],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert writer.stdout.readline() == "writing\n"
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
        assert content(files, KEY) == b"whole"
        assert list(files.keys("uploads")) == [KEY]

    def test_a_store_that_can_be_written_passes_the_check(self, files):
        files.check()
        assert list(files.keys("uploads")) == []


def _replace(files: FileStore, expected: bytes, data: bytes) -> None:
    assert content(files, KEY) == expected
    files.put(KEY, io.BytesIO(data))
