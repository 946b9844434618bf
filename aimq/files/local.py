"""FileStore in a local folder.

A file is written under ``<root>/.staging/``, synced and renamed into place, so that neither a
reader nor a crash ever shows a part of it. What killed writers left there is swept after a day.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from aimq.files.error_mapping import mapped
from aimq.files.keys import checked

_BLOCK: Final = 1024 * 1024
_STAGING: Final = ".staging"
_LEFTOVER_SECONDS: Final = 86_400.0
_SWEEP_SECONDS: Final = 3_600.0


class LocalFiles:
    """`aimq.files.port.FileStore` under a folder, which is made when first written to.

    Args:
        root: the folder; every process that uses it must see the same file system.
        clock: seconds since the epoch; injected by tests.
    """

    def __init__(self, root: Path, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._staging = root / _STAGING
        self._clock = clock
        self._lock = threading.Lock()
        self._next_sweep = 0.0

    def put(self, key: str, stream: BinaryIO) -> int:
        """See `FileStore.put`."""
        target = self._path(key)
        with mapped("written", str(self._root)):
            self._sweep_now_and_then()
            part = self._staging / secrets.token_hex(16)
            _make_folder(self._staging)
            file = part.open("xb")
        try:
            with file:
                size = self._fill(file, stream)
            with mapped("written", str(self._root)):
                _make_folder(target.parent)
                part.replace(target)
                _sync_folder(target.parent)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return size

    def _fill(self, file: BinaryIO, stream: BinaryIO) -> int:
        """Copy and sync; only errors of our own side are mapped."""
        size = 0
        while block := stream.read(_BLOCK):
            with mapped("written", str(self._root)):
                file.write(block)
            size += len(block)
        with mapped("written", str(self._root)):
            file.flush()
            os.fsync(file.fileno())
        return size

    def open(self, key: str) -> BinaryIO:
        """See `FileStore.open`."""
        with mapped("read", str(self._root), key):
            return self._path(key).open("rb")

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """See `FileStore.local_copy`; this is the file itself."""
        path = self._path(key)
        with self.open(key):
            yield path

    def delete(self, key: str) -> None:
        """See `FileStore.delete`."""
        path = self._path(key)
        with mapped("written", str(self._root)), suppress(NotADirectoryError):
            path.unlink(missing_ok=True)
        if path.parent.parent != self._root:  # a job's own folder
            with suppress(OSError):  # it is not empty
                path.parent.rmdir()

    def keys(self, prefix: str, older_than: float = 0.0) -> Iterator[str]:
        """See `FileStore.keys`."""
        folder = self._path(prefix)
        with mapped("listed", str(self._root)):
            for at, _, names in os.walk(folder):
                for path in (Path(at) / name for name in names):
                    if not older_than or self._age(path) > older_than:
                        yield path.relative_to(self._root).as_posix()

    def _age(self, path: Path) -> float:
        """Return the seconds since a file was put, 0 if it is gone."""
        try:
            return self._clock() - path.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def check(self) -> None:
        """See `FileStore.check`."""
        with mapped("written", str(self._root)):
            _make_folder(self._staging)
            part = self._staging / secrets.token_hex(16)
            try:
                part.write_bytes(b"check")
            finally:
                part.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._root / checked(key)

    def _sweep_now_and_then(self) -> None:
        now = self._clock()
        with self._lock:
            if now < self._next_sweep:
                return
            self._next_sweep = now + _SWEEP_SECONDS
        for part in self._staging.glob("*"):
            with suppress(FileNotFoundError):  # another process swept it
                if part.stat().st_mtime < now - _LEFTOVER_SECONDS:
                    part.unlink()


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durably."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(folder))
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make renames and new entries in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
