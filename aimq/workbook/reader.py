"""What the services ask of a workbook: its header, its cells."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from aimq.child_pool import ChildPool
from aimq.errors import InternalError, Overloaded, TaskTooLong, WorkerDied
from aimq.workbook.package import MIB
from aimq.workbook.parser import Parser, error_of

if TYPE_CHECKING:
    from aimq.workbook.sheet import Sheet

#: Longest wait for a process to read a header, in seconds.
_HEADER_WAIT: Final = 0.5


class WorkbookReader:
    """Reads workbooks in child processes with a memory and a time limit. Thread-safe.

    Args:
        max_unpacked_mb: most MiB that a workbook may take once unpacked, and its cells in memory.
        count: files that are read at the same time; others wait.
    """

    def __init__(self, max_unpacked_mb: int, count: int = 1) -> None:
        self._max_unpacked = max_unpacked_mb * MIB
        self._pool = ChildPool(Parser, count)

    def header(self, file: BinaryIO) -> list[str] | None:
        """Return the header of the sheet that `read` returns. Blocks for two seconds at most.

        Leaves the position of the file anywhere.

        Args:
            file: an open file with a descriptor.

        Returns:
            The texts of the first row with anything in it; None if they cannot be read quickly:
            the workbook is checked when the whole of it is read.

        Raises:
            UnsupportedMedia: not an .xlsx, protected, or damaged.
            TooLarge: unpacks to more than the bound.
            WorkbookError: no header, no data row, no visible sheet, or too much memory needed.
        """
        file.flush()
        request = {"max_rows": None, "max_unpacked": self._max_unpacked}
        try:
            with tempfile.TemporaryFile() as unused:
                answer = self._ask(request, file, unused, _HEADER_WAIT)
        except (Overloaded, TaskTooLong, WorkerDied, InternalError):
            return None
        header: list[str] | None = answer["header"]
        return header

    def read(self, path: Path, max_rows: int) -> Sheet:
        """Return the first visible sheet of a workbook. Blocks.

        Leading blank rows and columns are passed over; the first row with anything in it holds
        the headers. Blank rows further down are kept. An error cell is its text (``#N/A``).

        Args:
            max_rows: most data rows.

        Raises:
            UnsupportedMedia: not an .xlsx, protected, or damaged.
            TooLarge: unpacks to more than the bound.
            WorkbookError: too many rows, no data, or too much memory needed.
            TaskTooLong: the time limit is reached.
            FilesUnavailable: there is no room for temporary files.
            WorkerDied: the process was killed.
        """
        # The interface reads headers only, and shall not load pandas for it.
        from aimq.workbook.sheet import read_sheet  # noqa: PLC0415

        request = {"max_rows": max_rows, "max_unpacked": self._max_unpacked}
        with path.open("rb") as file, tempfile.TemporaryFile() as cells:
            answer = self._ask(request, file, cells)
            cells.seek(0)
            return read_sheet(answer["name"], answer["header"], cells)

    def _ask(
        self, request: dict[str, Any], file: BinaryIO, target: BinaryIO, wait: float | None = None
    ) -> dict[str, Any]:
        with self._pool.child(wait) as parser:
            answer = parser.ask(request, file, target)
        if "error" in answer:
            raise error_of(answer)
        return answer

    def close(self) -> None:
        """End the processes; a file under way ends with `WorkerDied`. Idempotent."""
        self._pool.close()
