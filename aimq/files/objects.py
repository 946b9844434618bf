"""FileStore on any fsspec file system, such as an S3 bucket.

Object stores show an object once it is complete, so that a put is atomic. On other file systems
the file is written under ``<root>/.staging/`` and moved: as atomic as a rename is there.

A reader of an object that is replaced meanwhile starts again: s3fs pins the version it reads by
its ETag and raises when that is gone. Credentials and address come from the library's usual
variables (for S3 ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_ENDPOINT_URL``, …).
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from aimq.files.error_mapping import mapped
from aimq.files.keys import checked

_BLOCK: Final = 8 * 1024 * 1024
_STAGING: Final = ".staging"
_COPY_PREFIX: Final = "aimq-copy-"
_LEFTOVER_SECONDS: Final = 86_400.0
_SWEEP_SECONDS: Final = 3_600.0
_READ_TRIES: Final = 5


class ObjectFiles:
    """`aimq.files.port.FileStore` under a path of an fsspec file system.

    Safe after a fork: the child makes a file system of its own, for connections and the event loop
    thread belong to one process.

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
        """See `FileStore.put`. The stream is spooled to disk first: it may break off."""
        target = self._path(key)
        self._sweep_now_and_then()
        with _temporary_file() as spool:
            while block := stream.read(_BLOCK):
                with mapped("written", tempfile.gettempdir()):
                    spool.write(block)
            with mapped("written", tempfile.gettempdir()):
                spool.flush()
            with mapped("written", self._shown):
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
        """See `FileStore.open`. This is a temporary copy that has no name any more."""
        with self.local_copy(key) as path, mapped("read", tempfile.gettempdir()):
            return path.open("rb")

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """See `FileStore.local_copy`; this is a temporary file."""
        with _temporary_file(PurePosixPath(key).suffix) as copy:
            with mapped("read", self._shown, key):
                self._fetch(self._path(key), copy)
            yield Path(copy.name)

    def _fetch(self, path: str, into: BinaryIO) -> None:
        """Copy one version of the file; starts again when it is replaced meanwhile."""
        for tries_left in reversed(range(_READ_TRIES)):
            into.seek(0)
            into.truncate()
            try:
                with self._fs.open(path, "rb", block_size=_BLOCK) as source:
                    _refuse_folder(source)
                    shutil.copyfileobj(source, into, _BLOCK)
                into.flush()
            except Exception as exc:
                if not (tries_left and _was_replaced(exc)):
                    raise
            else:
                return

    def delete(self, key: str) -> None:
        """See `FileStore.delete`."""
        path = self._path(key)
        with mapped("written", self._shown), suppress(FileNotFoundError, NotADirectoryError):
            self._fs.rm_file(path)
        if not self._whole and key.count("/") > 1:  # a job's own folder
            folder = path.rpartition("/")[0]
            with suppress(Exception):  # tidying must not keep a file from being deleted
                if not self._fs.ls(folder, detail=False):
                    self._fs.rmdir(folder)

    def keys(self, prefix: str, older_than: float = 0.0) -> Iterator[str]:
        """See `FileStore.keys`."""
        path = self._path(prefix)
        with mapped("listed", self._shown), suppress(FileNotFoundError):
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
        return self._clock() - float(put.timestamp())

    def check(self) -> None:
        """See `FileStore.check`. Writes one small object, always the same."""
        with mapped("written", self._shown):
            self._place(f"{self._root}/.check", lambda path: self._fs.pipe_file(path, b"check"))

    def _path(self, key: str) -> str:
        return f"{self._root}/{checked(key)}"

    def _sweep_now_and_then(self) -> None:
        """Remove what killed writers left a day ago; at most once an hour."""
        with self._lock:
            if self._clock() < self._next_sweep:
                return
            self._next_sweep = self._clock() + _SWEEP_SECONDS
        before = self._clock() - _LEFTOVER_SECONDS
        for sweep in (_sweep_copies, self._sweep_uploads if self._whole else self._sweep_staging):
            with suppress(Exception):  # a policy may forbid it; the file is stored all the same
                sweep(before)

    def _sweep_staging(self, before: float) -> None:
        for path in self._fs.find(f"{self._root}/{_STAGING}"):
            if self._fs.modified(path).timestamp() < before:
                self._fs.rm_file(path)

    def _sweep_uploads(self, before: float) -> None:
        """Abort multipart uploads under our root: S3 keeps them, and bills for them."""
        bucket, _, prefix = self._root.partition("/")
        for upload in self._fs.list_multipart_uploads(bucket):
            ours = upload["Key"].startswith(prefix and f"{prefix}/")
            if ours and upload["Initiated"].timestamp() < before:
                self._fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])


@contextmanager
def _temporary_file(suffix: str = "") -> Iterator[Any]:
    with mapped("written", tempfile.gettempdir()):
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed below; only this is mapped
            prefix=_COPY_PREFIX, suffix=suffix
        )
    with file:
        yield file


def _sweep_copies(before: float) -> None:
    for copy in Path(tempfile.gettempdir()).glob(f"{_COPY_PREFIX}*"):
        with suppress(OSError):  # another user's, or gone
            if copy.stat().st_mtime < before:
                copy.unlink()


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
