"""What the services ask of a workbook: its header, its cells."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from aimq.workbook.reading import read_workbook
from aimq.workbook.sheet import Sheet
from aimq.workbook.upload_check import MIB, read_header


class WorkbookReader:
    """Reads workbooks that nobody has looked at before. Thread-safe.

    Args:
        max_unpacked_mb: most MiB that a workbook may take once unpacked.
        count: files that are read at the same time; others wait.
    """

    def __init__(self, max_unpacked_mb: int, count: int = 1) -> None:
        self._max_unpacked_mb = max_unpacked_mb
        self._count = count

    def header(self, file: BinaryIO) -> list[str] | None:
        """Return the first row of the sheet that is read, None if it cannot be told quickly.

        Blocks for a second or two at most. The position of the file is anywhere afterwards.

        Args:
            file: an open file with a descriptor.

        Raises:
            UnsupportedMedia: not an .xlsx, protected, or damaged.
            TooLarge: unpacks to more than the bound, or to suspiciously many times its size.
            WorkbookError: there is no header, or no data row.
        """
        return read_header(file, self._max_unpacked_mb * MIB)

    def read(self, path: Path, max_rows: int) -> Sheet:
        """Return the first visible sheet of a workbook. Blocks.

        Args:
            max_rows: most data rows.

        Raises:
            WorkbookError: it cannot be read, is too large, or has no data; says what to change.
        """
        return read_workbook(path, max_rows=max_rows, max_unpacked_mb=self._max_unpacked_mb)

    def close(self) -> None:
        """End what is being read. Idempotent."""
