"""The header of an upload, read before the upload is accepted."""

from __future__ import annotations

import tempfile
from typing import BinaryIO, Final

from aimq.errors import InternalError, WorkerDied
from aimq.workbook.package import MIB
from aimq.workbook.pool import ChildPool, OutOfTime

#: Longest wait for a process to read a header, in seconds.
_WAIT: Final = 0.5


class HeaderReader:
    """Reads headers in child processes with small limits. Thread-safe.

    Args:
        max_unpacked_mb: most MiB that a workbook may take once unpacked.
        count: files that are looked into at the same time.
    """

    def __init__(self, max_unpacked_mb: int, count: int = 2) -> None:
        self._max_unpacked = max_unpacked_mb * MIB
        self._pool = ChildPool(count)

    def header(self, file: BinaryIO) -> list[str] | None:
        """Return the header of the sheet that is read: the first row with anything in it.

        Blocks for about two seconds at most. Leaves the position of the file anywhere.

        Args:
            file: an open file with a descriptor.

        Returns:
            The texts of the header row; None if they cannot be read quickly: the workbook is
            checked when the whole of it is read.

        Raises:
            UnsupportedMedia: not an .xlsx, protected, or damaged.
            TooLarge: unpacks to more than the bound.
            WorkbookError: no header, no data row, no visible sheet, or too much memory needed.
        """
        file.flush()
        request = {"max_rows": None, "max_unpacked": self._max_unpacked}
        try:
            with tempfile.TemporaryFile() as unused:
                answer = self._pool.ask(request, file, unused, _WAIT)
        except (OutOfTime, WorkerDied, InternalError):
            return None
        header: list[str] | None = answer["header"]
        return header

    def close(self) -> None:
        """End the processes. Idempotent."""
        self._pool.close()
