"""The cells of a workbook, read in a child process with a memory and a time limit."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa

from aimq.errors import WorkbookError
from aimq.workbook import limits
from aimq.workbook.package import MIB
from aimq.workbook.pool import ChildPool, OutOfTime
from aimq.workbook.sheet import Sheet, sheet_of


class WorkbookReader:
    """Reads whole workbooks. Thread-safe.

    Args:
        max_unpacked_mb: most MiB that a workbook may take once unpacked, and its cells in memory.
        count: files that are read at the same time; others wait.
    """

    def __init__(self, max_unpacked_mb: int, count: int = 1) -> None:
        self._max_unpacked = max_unpacked_mb * MIB
        self._pool = ChildPool(count)

    def read(self, path: Path, max_rows: int) -> Sheet:
        """Return the first visible sheet of a workbook. Blocks.

        Leading blank rows and columns are passed over; the first row with anything in it holds
        the headers. Blank rows further down are kept. An error cell is its text (``#N/A``).

        Args:
            max_rows: most data rows.

        Raises:
            UnsupportedMedia: not an .xlsx, protected, or damaged.
            TooLarge: unpacks to more than the bound.
            WorkbookError: too many rows, no data, or too much memory or time needed.
            FilesUnavailable: there is no room for temporary files.
            WorkerDied: the process was killed.
        """
        request = {"max_rows": max_rows, "max_unpacked": self._max_unpacked}
        with path.open("rb") as file, tempfile.TemporaryFile() as cells:
            try:
                answer = self._pool.ask(request, file, cells)
            except OutOfTime as exc:
                raise WorkbookError(limits.TOO_LONG) from exc
            cells.seek(0)
            table = pa.ipc.open_stream(cells).read_all()
        return sheet_of(answer["name"], answer["header"], table)

    def close(self) -> None:
        """End the processes; a file under way ends with `WorkerDied`. Idempotent."""
        self._pool.close()
