"""Reads the first visible sheet of an .xlsx, every cell as what it is: text stays text.

Columns whose cells are all alike are read in one pass; a sheet that mixes types within a column,
or has error cells, is read by `aimq.workbook.cell_types`.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Final

import fastexcel
import pandas as pd

from aimq.errors import WorkbookError
from aimq.workbook.cell_types import read_mixed
from aimq.workbook.sheet import Sheet, labelled, plain
from aimq.workbook.zip_limits import check_bounds

#: Names that the reader gives to columns with a blank or a duplicate header.
_MADE_UP: Final = re.compile(r"^__UNNAMED__\d+$|_\d+$")

# It warns of every empty column.
logging.getLogger("fastexcel").setLevel(logging.ERROR)


def read_workbook(path: Path, *, max_rows: int, max_unpacked_mb: int) -> Sheet:
    """Read the first visible sheet of a workbook.

    Leading blank rows and columns are passed over; the first row with anything in it holds the
    headers. Blank rows further down are kept. A cell that holds nothing but spaces counts as "".

    Args:
        max_rows: most data rows.
        max_unpacked_mb: most MiB that the workbook may take once unpacked.

    Raises:
        WorkbookError: it cannot be read, is too large, or has no data; says what to change.
    """
    check_bounds(path, max_unpacked_mb)
    try:
        reader = fastexcel.read_excel(path)
        sheet = _first_visible(reader)
        _check_rows(sheet, max_rows)
        return Sheet(sheet.name, _headers(reader, sheet), _frame(reader, sheet))
    except fastexcel.FastExcelError as exc:
        raise WorkbookError(
            f"The workbook cannot be read ({_first_line(exc)}). Open it in Excel, save it as "
            ".xlsx again, and try once more."
        ) from exc
    except BaseException as exc:
        if type(exc).__name__ != "PanicException":  # of the reader, which has it for bad files
            raise
        raise WorkbookError(
            "The workbook is damaged. Open it in Excel, save it as .xlsx again, and try once more."
        ) from exc


def _first_visible(reader: fastexcel.ExcelReader) -> fastexcel.ExcelSheet:
    for name in reader.sheet_names:
        sheet = _load(reader, name)
        if sheet.visible == "visible":
            return sheet
    raise WorkbookError("The workbook has no visible sheet. Unhide the one to be scored.")


def _load(reader: fastexcel.ExcelReader, name: str) -> fastexcel.ExcelSheet:
    """Parse a sheet, with the types its columns have, or as text where one mixes several."""
    try:
        return reader.load_sheet(name, dtype_coercion="strict", schema_sample_rows=None)
    except fastexcel.UnsupportedColumnTypeCombinationError:
        return reader.load_sheet(name, dtypes="string")


def _check_rows(sheet: fastexcel.ExcelSheet, max_rows: int) -> None:
    if sheet.width == 0 or sheet.total_height == 0:  # of an empty one the height is nonsense
        raise WorkbookError(
            f"Sheet {sheet.name!r}, the first visible one, has no rows below a header row. "
            "Put one record in each row, or move the sheet with the records to the front."
        )
    if sheet.total_height > max_rows:
        raise WorkbookError(
            f"Sheet {sheet.name!r} has {sheet.total_height:,} rows; at most {max_rows:,} are "
            "scored at once. Split it into several workbooks."
        )


def _headers(reader: fastexcel.ExcelReader, sheet: fastexcel.ExcelSheet) -> list[str]:
    names = [column.name for column in sheet.selected_columns]
    if not any(_MADE_UP.search(name) for name in names):
        return names
    # Some may be the reader's inventions for blank or duplicate ones: look at the cells.
    first = reader.load_sheet(sheet.name, header_row=None, n_rows=1, dtypes="string").to_arrow()
    return [column[0].as_py() or "" for column in first.columns]


def _frame(reader: fastexcel.ExcelReader, sheet: fastexcel.ExcelSheet) -> pd.DataFrame:
    if sheet.specified_dtypes is not None:
        return read_mixed(reader, sheet)
    batch, errors = sheet.to_arrow_with_errors()
    if errors is not None and errors.errors:
        return read_mixed(reader, reader.load_sheet(sheet.name, dtypes="string"))
    return labelled([plain(column) for column in batch.columns])


def _first_line(exc: BaseException) -> str:
    return str(exc).partition("\n")[0]
