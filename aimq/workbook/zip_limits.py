"""What is refused before a workbook is read: no workbook, or one that would not fit into memory.

An .xlsx is a zip of XML. The sizes that a zip declares may lie, so its members are unpacked, in
pieces that are thrown away. The reader holds a sheet as a dense grid: a single cell far away from
the others costs as much as a full sheet, so the outermost cell references are looked for as well.
"""

from __future__ import annotations

import copy
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from aimq.errors import WorkbookError

#: Bytes that one cell of the reader's grid takes.
CELL_BYTES: Final = 32
_MIB: Final = 1 << 20
_PIECE: Final = 1 << 20
#: Longest cell reference that may be cut in two by the end of a piece.
_OVERLAP: Final = 32

_ZIP: Final = b"PK\x03\x04"
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")

# Only far cells are matched: in most files there are none, and the scan costs next to nothing.
_FAR_COLUMN: Final = re.compile(rb"""r\s*=\s*["']([A-Z]{2,3})[0-9]""")
_FAR_ROW: Final = re.compile(rb"""r\s*=\s*["'][A-Z]{1,3}([0-9]{6,7})["']""")
_NEAR_COLUMNS: Final = 26
_NEAR_ROWS: Final = 99_999

_RESAVE = "Open it in Excel and save it as .xlsx (Excel Workbook)"


def unpacked_size(path: Path) -> int:
    """Return the bytes of all parts of a workbook once unpacked, as its directory has it.

    Raises:
        WorkbookError: the file is no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, OSError, NotImplementedError) as exc:
        raise WorkbookError(f"The file is damaged or incomplete ({exc}). Upload it again.") from exc


def check_bounds(path: Path, max_unpacked_mb: int) -> None:
    """Refuse a file that is no .xlsx, is damaged, or is too large once unpacked.

    Args:
        max_unpacked_mb: most MiB that the unpacked parts, or the grid of one sheet, may take.

    Raises:
        WorkbookError: what is wrong with the file and what to change.
    """
    with path.open("rb") as stream:
        _check_signature(stream)
    budget = max_unpacked_mb * _MIB
    try:
        with zipfile.ZipFile(path) as archive:
            _check_archive(archive, budget)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as exc:
        raise WorkbookError(f"The file is damaged or incomplete ({exc}). Upload it again.") from exc
    except RuntimeError as exc:  # zipfile's only word for an encrypted member
        raise WorkbookError("The file is encrypted. Remove the password and try again.") from exc


def _check_signature(stream: BinaryIO) -> None:
    start = stream.read(8)
    if not start:
        raise WorkbookError("The file is empty. Upload a workbook with a header row and data.")
    if start == _OLE:
        if _ENCRYPTED in stream.read(_MIB):
            raise WorkbookError(
                "The workbook is protected with a password. Remove the password "
                "(File > Info > Protect Workbook) and try again."
            )
        raise WorkbookError(f"The file is an old .xls workbook or not a workbook. {_RESAVE}.")
    if not start.startswith(_ZIP):
        raise WorkbookError(f"The file is not an .xlsx workbook. {_RESAVE}.")


def _check_archive(archive: zipfile.ZipFile, budget: int) -> None:
    names = set(archive.namelist())
    if "xl/workbook.xml" not in names:
        raise WorkbookError(f"The file is not an .xlsx workbook. {_RESAVE}.")
    total = sum(info.file_size for info in archive.infolist())
    if total > budget:
        raise _too_large(budget)
    spent = 0
    for info in archive.infolist():
        extent = _Extent()
        for piece in _pieces(archive, info):
            spent += len(piece)
            if spent > budget:
                raise _too_large(budget)
            if info.filename.startswith("xl/worksheets/"):
                extent.see(piece)
                if extent.far and extent.cells * CELL_BYTES > budget:
                    raise WorkbookError(
                        f"A sheet has cells as far out as row {extent.rows:,}, column "
                        f"{extent.columns:,}: too large to be read. Delete the rows and columns "
                        "beyond the table (select them, Delete), save, and try again."
                    )


def _pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield a member unpacked to its true end, whatever size and checksum it declares."""
    true = copy.copy(info)
    true.file_size = 1 << 62
    true.CRC = None  # type: ignore[assignment] # "not checked": the reader checks it afterwards
    with archive.open(true) as member:
        while piece := member.read(_PIECE):
            yield piece


def _too_large(budget: int) -> WorkbookError:
    return WorkbookError(
        f"The workbook is larger than {budget // _MIB:,} MiB once unpacked. Split it into several."
    )


class _Extent:
    """The outermost row and column seen in a sheet's XML; never less than a small sheet's."""

    def __init__(self) -> None:
        self.rows = _NEAR_ROWS
        self.columns = _NEAR_COLUMNS
        self._tail = b""

    @property
    def cells(self) -> int:
        return self.rows * self.columns

    @property
    def far(self) -> bool:
        return self.rows > _NEAR_ROWS or self.columns > _NEAR_COLUMNS

    def see(self, piece: bytes) -> None:
        text = self._tail + piece
        self._tail = piece[-_OVERLAP:]
        for letters in set(_FAR_COLUMN.findall(text)):
            self.columns = max(self.columns, _column(letters))
        if _FAR_ROW.search(text):
            self.rows = max(self.rows, *map(int, _FAR_ROW.findall(text)))


def _column(letters: bytes) -> int:
    """Return the number of a column: A is 1, XFD 16,384."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number
