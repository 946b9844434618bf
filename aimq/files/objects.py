"""FileStore on any fsspec file system, such as an S3 bucket.

Object stores show an object once it is complete, so that a put is atomic. On other file systems
the file is written under ``<root>/.staging/`` and moved: as atomic as a rename is there.

A reader of an object that is replaced under its hands starts again: s3fs pins the version it reads
by its ETag and says so when that is gone. Credentials and address come from the library's
usual variables (for S3 ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_ENDPOINT_URL``, …).
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from aimq.files.failures import reading, writing
from aimq.files.keys import checked

_BLOCK: Final = 8 * 1024 * 1024
_STAGING: Final = ".staging"
_COPY_PREFIX: Final = "aimq-copy-"
_LEFTOVER_SECONDS: Final = 86_400.0
_SWEEP_SECONDS: Final = 3_600.0
_READ_TRIES: Final = 5


class ObjectFiles:
    """`aimq.files.port.FileStore` under a path of an fsspec file system.

    Safe after a fork: the file system, whose connections and event loop thread belong to one
    process, is made anew in the child.

    Args:
        make: returns the file system, without a cache of listings (other processes write too).
        root: path of the store in it, such as ``bucket/prefix``.
        shown: the store as messages name it, without credentials.
        whole: an object appears only once it is complete, so that no staging is needed.
        clock: seconds since the epoch; injected by tests.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        root: str,
        shown: str,
        *,
        whole: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._make = make
        self._root = root.rstrip("/")
        self._shown = shown
        self._whole = whole
        self._clock = clock
        self._lock = threading.Lock()
        self._made: tuple[int, Any] | None = None
        self._next_sweep = 0.0

    @property
    def _fs(self) -> Any:  # noqa: ANN401 - fsspec publishes no types
        made = self._made
        if made is None or made[0] != os.getpid():
            made = self._made = (os.getpid(), self._make())
        return made[1]

    def put(self, key: str, stream: BinaryIO) -> int:
        """See `FileStore.put`. A stream of more than 8 MiB is spooled to disk first."""
        target = self._path(key)
        self._sweep_now_and_then()
        first = _read_up_to(stream, _BLOCK)
        if len(first) < _BLOCK:
            with writing(self._shown):
                self._place(target, lambda path: self._fs.pipe_file(path, first))
            return len(first)
        with _temporary_file() as spool:
            block = first
            while block:
                with writing(tempfile.gettempdir()):
                    spool.write(block)
                block = stream.read(_BLOCK)
            with writing(tempfile.gettempdir()):
                spool.flush()
            with writing(self._shown):
                self._place(target, lambda path: self._fs.put_file(spool.name, path))
            return int(spool.tell())

    def _place(self, target: str, write: Callable[[str], object]) -> None:
        if self._whole:
            write(target)
            return
        staged = f"{self._root}/{_STAGING}/{secrets.token_hex(16)}"
        self._fs.makedirs(f"{self._root}/{_STAGING}", exist_ok=True)
        self._fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
        try:
            write(staged)
            self._fs.mv(staged, target)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(staged)
            raise

    def open(self, key: str) -> BinaryIO:
        """See `FileStore.open`. The file is fetched to an unnamed temporary one first."""
        with writing(tempfile.gettempdir()):
            spool = tempfile.TemporaryFile(prefix=_COPY_PREFIX)  # noqa: SIM115 - the caller closes
        try:
            self._fetch(key, spool)
        except BaseException:
            spool.close()
            raise
        spool.seek(0)
        return io.BufferedReader(spool.detach()) if isinstance(spool, io.BufferedRandom) else spool

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """See `FileStore.local_copy`; this is a temporary file."""
        suffix = PurePosixPath(key).suffix
        with _temporary_file(suffix) as copy:
            self._fetch(key, copy)
            with writing(tempfile.gettempdir()):
                copy.flush()
            yield Path(copy.name)

    def _fetch(self, key: str, into: Any) -> None:  # noqa: ANN401 - tempfile's wrappers
        """Copy one version of the file; starts again when it is replaced meanwhile."""
        path = self._path(key)
        with reading(self._shown, key):
            for tries_left in reversed(range(_READ_TRIES)):
                try:
                    with self._fs.open(path, "rb", block_size=_BLOCK) as source:
                        _refuse_folder(source)
                        shutil.copyfileobj(source, into, _BLOCK)
                except Exception as exc:
                    if not (tries_left and _was_replaced(exc)):
                        raise
                    into.seek(0)
                    into.truncate()
                else:
                    return

    def delete(self, key: str) -> None:
        """See `FileStore.delete`."""
        path = self._path(key)
        with writing(self._shown), suppress(FileNotFoundError, NotADirectoryError):
            self._fs.rm_file(path)
            if not self._whole and key.count("/") > 1:  # a job's own folder
                self._remove_if_empty(path.rpartition("/")[0])

    def _remove_if_empty(self, folder: str) -> None:
        with suppress(Exception):  # tidying must not keep a file from being deleted
            if not self._fs.ls(folder, detail=False):
                self._fs.rmdir(folder)

    def keys(self, prefix: str, older_than: float = 0.0) -> Iterator[str]:
        """See `FileStore.keys`."""
        path = self._path(prefix)
        with writing(self._shown, "listed"), suppress(FileNotFoundError):
            skipped = len(self._root) + 1
            for found, details in self._fs.find(path, detail=True).items():
                if found != path and (not older_than or self._age(found, details) > older_than):
                    yield found[skipped:]

    def _age(self, path: str, details: dict[str, Any]) -> float:
        """Return the seconds since a file was put, 0 if it is gone.

        Args:
            details: of the listing; where S3 says it, one more request is saved.
        """
        try:
            put = details.get("LastModified") or self._fs.modified(path)
        except FileNotFoundError:
            return 0.0
        return self._clock() - _timestamp(put)

    def check(self) -> None:
        """See `FileStore.check`. Writes one small object, always the same."""
        with writing(self._shown):
            self._place(f"{self._root}/.check", lambda path: self._fs.pipe_file(path, b"check"))

    def _path(self, key: str) -> str:
        return f"{self._root}/{checked(key)}"

    def _sweep_now_and_then(self) -> None:
        now = self._clock()
        with self._lock:
            if now < self._next_sweep:
                return
            self._next_sweep = now + _SWEEP_SECONDS
        with suppress(Exception):  # tidying must not keep a file from being stored
            _sweep_copies(now)
        with suppress(Exception):  # the same; a policy may forbid listing uploads
            if self._whole:
                self._abort_uploads(now)
            else:
                self._sweep_staging(now)

    def _sweep_staging(self, now: float) -> None:
        for path in self._fs.find(f"{self._root}/{_STAGING}"):
            if _timestamp(self._fs.modified(path)) < now - _LEFTOVER_SECONDS:
                self._fs.rm_file(path)

    def _abort_uploads(self, now: float) -> None:
        """End multipart uploads under our root whose writers died; S3 keeps, and bills, them."""
        if not hasattr(self._fs, "list_multipart_uploads"):
            return
        bucket, _, prefix = self._root.partition("/")
        for upload in self._fs.list_multipart_uploads(bucket):
            ours = upload["Key"].startswith(prefix and f"{prefix}/")
            if ours and _timestamp(upload["Initiated"]) < now - _LEFTOVER_SECONDS:
                self._fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])


@contextmanager
def _temporary_file(suffix: str = "") -> Iterator[Any]:
    with writing(tempfile.gettempdir()):
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed below; only this is mapped
            prefix=_COPY_PREFIX, suffix=suffix
        )
    with file:
        yield file


def _sweep_copies(now: float) -> None:
    for copy in Path(tempfile.gettempdir()).glob(f"{_COPY_PREFIX}*"):
        with suppress(OSError):  # another process's, or gone
            if copy.stat().st_mtime < now - _LEFTOVER_SECONDS:
                copy.unlink()


def _timestamp(moment: datetime) -> float:
    return moment.timestamp()


def _read_up_to(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer only at the stream's end (one read may give less)."""
    blocks, missing = [], size
    while missing and (block := stream.read(missing)):
        blocks.append(block)
        missing -= len(block)
    return b"".join(blocks)


def _refuse_folder(source: Any) -> None:  # noqa: ANN401 - fsspec publishes no types
    """Raise `FileNotFoundError` for a prefix of keys, which object stores let one open."""
    if (getattr(source, "details", None) or {}).get("type") == "directory":
        raise FileNotFoundError(source.path)


def _was_replaced(exc: Exception) -> bool:
    if type(exc).__name__ == "FileExpired":  # s3fs's; the library is optional
        return True
    # a server may look at the range first, and the new version may be shorter
    answer = getattr(exc.__cause__, "response", None) or {}
    return bool(answer.get("Error", {}).get("Code") == "InvalidRange")
