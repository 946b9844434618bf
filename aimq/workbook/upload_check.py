"""Whether an upload is a workbook that can be scored, told from its content alone.

What the file claims to be, by name or content type, counts for nothing.
"""

from __future__ import annotations

from typing import BinaryIO, Final

from aimq.errors import TooLarge, UnsupportedMedia, WorkbookError
from aimq.workbook import file_type
from aimq.workbook.header import Damaged, Package

MIB: Final = 1024 * 1024
#: A workbook of real cells shrinks to a tenth or so; a repetitive one to a fiftieth.
MAX_RATIO: Final = 200
#: Below this size, once unpacked, no ratio does harm.
_HARMLESS: Final = 32 * MIB


def read_header(file: BinaryIO, max_unpacked: int) -> list[str] | None:
    """Return the header of the first sheet; None if it is not within the bounds. Blocks briefly.

    Args:
        file: seekable.
        max_unpacked: bound on the workbook's size once unpacked, in bytes.

    Raises:
        UnsupportedMedia: not an .xlsx, protected, or damaged.
        TooLarge: unpacks to more than the bound, or to suspiciously many times its size.
        WorkbookError: there is no header, or no data row.
    """
    if not file_type.is_zip(file):
        raise UnsupportedMedia(file_type.refusal(file))
    try:
        package = Package(file)
        _check_package(package, max_unpacked)
        rows = package.first_rows()
    except Damaged as exc:
        raise UnsupportedMedia(file_type.TRUNCATED) from exc
    if rows.header == []:
        raise WorkbookError("The first sheet is empty: it needs a header row and data rows.")
    if rows.has_data is False:
        raise WorkbookError("The workbook has only a header: add a row for each record to predict.")
    return rows.header


def _check_package(package: Package, max_unpacked: int) -> None:
    if package.encrypted:
        raise UnsupportedMedia(file_type.PROTECTED)
    workbook = any(
        part.startswith("xl/workbook") and part.endswith(".xml") for part in package.parts
    )
    if not workbook or "[content_types].xml" not in package.parts:
        raise UnsupportedMedia(file_type.refusal_of_zip(package.parts.keys()))
    unpacked = package.unpacked
    if unpacked > max_unpacked:
        raise TooLarge(
            f"The workbook unpacks to {unpacked // MIB:,} MiB; at most {max_unpacked // MIB:,} MiB "
            "are read. Split it into several files."
        )
    if unpacked > _HARMLESS and unpacked > MAX_RATIO * package.packed:
        raise TooLarge(
            f"The workbook unpacks to over {MAX_RATIO} times its size: save it again without "
            "formatted empty rows."
        )
