"""Whether an upload is a workbook that can be scored, told from its content alone.

What the file claims to be, by name or content type, counts for nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import BinaryIO, Final

from aimq.errors import FieldError, TooLarge, UnsupportedMedia, WorkbookError
from aimq.schema import Schema, match_columns
from interface import sniff
from interface.xlsx import Damaged, Package

MIB: Final = 1024 * 1024
#: A workbook of real cells shrinks to a tenth or so; a repetitive one to a fiftieth.
MAX_RATIO: Final = 200
#: Below this size, once unpacked, no ratio does harm.
_HARMLESS: Final = 32 * MIB
#: More missing columns than this are counted, not listed.
_LISTED: Final = 20


def check_workbook(file: BinaryIO, schema: Schema | None, max_unpacked: int) -> None:
    """Refuse a file that cannot be scored. Blocks briefly; leaves the file's position anywhere.

    Args:
        file: seekable.
        schema: columns that must be there; None leaves them to the batch processor.
        max_unpacked: bound on the workbook's size once unpacked, in bytes.

    Raises:
        UnsupportedMedia: not an .xlsx, protected, or damaged.
        TooLarge: unpacks to more than the bound, or to suspiciously many times its size.
        WorkbookError: columns are missing, or there is no data row.
    """
    if not sniff.is_zip(file):
        raise UnsupportedMedia(sniff.refusal(file))
    try:
        package = Package(file)
        _check_package(package, max_unpacked)
        rows = package.first_rows()
    except Damaged as exc:
        raise UnsupportedMedia(sniff.TRUNCATED) from exc
    if rows.header is not None:
        check_header(rows.header, schema)
    if rows.has_data is False:
        raise WorkbookError("The workbook has only a header: add a row for each record to predict.")


def _check_package(package: Package, max_unpacked: int) -> None:
    if package.encrypted:
        raise UnsupportedMedia(sniff.PROTECTED)
    workbook = any(
        part.startswith("xl/workbook") and part.endswith(".xml") for part in package.parts
    )
    if not workbook or "[content_types].xml" not in package.parts:
        raise UnsupportedMedia(sniff.refusal_of_zip(package.parts.keys()))
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


def check_header(header: Sequence[str], schema: Schema | None) -> None:
    """Raise `WorkbookError`, naming each missing column, unless the header has them all."""
    if not header:
        raise WorkbookError("The first sheet is empty: it needs a header row and data rows.")
    if schema is None:
        return
    _, missing = match_columns(schema, header)
    if not missing:
        return
    listed = ", ".join(missing[:_LISTED])
    more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
    raise WorkbookError(
        f"The header row lacks {len(missing)} of {len(schema.columns)} columns: {listed}{more}. "
        "Name them in the first row of the first sheet; order and case do not matter.",
        errors=[_missing(name, header) for name in missing],
    )


def _missing(name: str, header: Sequence[str]) -> FieldError:
    near = difflib.get_close_matches(name, [cell[:60] for cell in header[:200]], n=1)
    hint = f"; the header has {near[0]!r}" if near else ""
    return FieldError(field=name, message=f"column is missing{hint}")
