"""The FileStore port: named files, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol


class FileStore(Protocol):
    """Files under keys like ``uploads/<job id>.xlsx``; keys are ours, never a client's.

    Thread-safe; blocks on the disk or the network. A reader sees the earlier file or the new one,
    never a part. Raises `FilesUnavailable` when the store cannot be reached or is full, `NotFound`
    for a key that does not exist, and `InternalError` for one that breaks `aimq.files.keys`.
    """

    def put(self, key: str, stream: BinaryIO) -> int:
        """Store a stream under a key, replacing what was there; returns its size in bytes.

        Read to its end from where it stands, in blocks; what reading it raises passes through,
        and nothing is stored then.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """Return the file for reading; the caller closes it."""
        ...

    def local_copy(self, key: str) -> AbstractContextManager[Path]:
        """Give the file as a local path for the length of a ``with`` block; do not write to it."""
        ...

    def delete(self, key: str) -> None:
        """Delete a file; one that does not exist is passed over."""
        ...

    def keys(self, prefix: str, older_than: float = 0.0) -> Iterator[str]:
        """Yield the keys in a folder such as ``uploads`` and below it, in no order.

        Args:
            older_than: only those of files put more than so many seconds ago; 0 for all. By the
                clock of the file store, which may differ from ours.
        """
        ...

    def check(self) -> None:
        """Raise `FilesUnavailable`, with one clear line, unless files can be written now."""
        ...
