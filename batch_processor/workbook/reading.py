"""Reads the first visible sheet of an .xlsx, cell by cell what it is: text stays text.

The fast path reads columns whose cells are all alike in one pass. A column that mixes types would
come back as one type, and error cells (``#N/A``) as empty ones; such a sheet is read three times,
once as each type, and what every cell is follows from which conversions it took:

- as text: everything but error cells, which are reported;
- as boolean: numbers and booleans only (text and dates are refused);
- as duration: dates, times and durations only.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Final

import fastexcel
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from aimq.errors import WorkbookError
from batch_processor.workbook.bounds import check_bounds
from batch_processor.workbook.sheet import Sheet

#: Names that the reader gives to columns with a blank or a duplicate header.
_MADE_UP: Final = re.compile(r"^__UNNAMED__\d+$|_\d+$")
#: The reader's word for an error cell, and how Excel shows it.
_ERROR_CELLS: Final = {
    "Div0": "#DIV/0!",
    "NA": "#N/A",
    "Name": "#NAME?",
    "Null": "#NULL!",
    "Num": "#NUM!",
    "Ref": "#REF!",
    "Value": "#VALUE!",
    "GettingData": "#GETTING_DATA",
}

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
    if sheet.total_height == 0:
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
        return _mixed_frame(reader, sheet)
    batch, errors = sheet.to_arrow_with_errors()
    if errors is not None and errors.errors:
        return _mixed_frame(reader, reader.load_sheet(sheet.name, dtypes="string"))
    return _labelled([_plain(column) for column in batch.columns])


def _labelled(columns: list[pd.Series[Any]]) -> pd.DataFrame:
    return pd.concat(columns, axis=1, ignore_index=True)


def _plain(column: pa.Array) -> pd.Series[Any]:
    if pa.types.is_integer(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    series: pd.Series[Any] = column.to_pandas()
    if pa.types.is_boolean(column.type):
        series = series.astype("boolean")
    return series


def _mixed_frame(reader: fastexcel.ExcelReader, sheet: fastexcel.ExcelSheet) -> pd.DataFrame:
    texts, errors = sheet.to_arrow_with_errors()
    numbers = reader.load_sheet(sheet.name, dtypes="boolean").to_arrow()
    dates = reader.load_sheet(sheet.name, dtypes="duration").to_arrow()
    columns = [
        _column(text, number.is_valid(), date.is_valid())
        for text, number, date in zip(texts.columns, numbers.columns, dates.columns, strict=True)
    ]
    for cell in errors.errors if errors else []:
        row, place = cell.offset_position
        columns[place] = columns[place].astype(object)
        columns[place].iat[row] = _error_text(cell.detail)
    return _labelled(columns)


def _column(text: pa.Array, number: pa.Array, date: pa.Array) -> pd.Series[Any]:
    """Return a column of one type if it is of one, else of objects."""
    truth = pc.and_(number, pc.fill_null(pc.is_in(text, pa.array(["true", "false"])), False))
    number = pc.and_not(number, truth)
    kinds = {"number": number, "truth": truth, "date": date}
    filled = len(text) - text.null_count
    values = {kind: _convert(kind, pc.if_else(mask, text, None)) for kind, mask in kinds.items()}
    for kind, mask in kinds.items():
        if filled and pc.sum(mask).as_py() == filled:
            return values[kind]
    if not any(pc.any(mask).as_py() for mask in kinds.values()):
        return _plain(text)
    cells: pd.Series[Any] = text.to_pandas().astype(object)
    cells = cells.where(text.is_valid().to_pandas(), None)
    for kind, mask in kinds.items():
        chosen = np.flatnonzero(mask.to_numpy(zero_copy_only=False))
        cells.iloc[chosen] = values[kind].iloc[chosen].astype(object)
    return cells


def _convert(kind: str, text: pa.Array) -> pd.Series[Any]:
    if kind == "date":
        moments: pd.Series[Any] = pd.to_datetime(
            text.to_pandas(), format="ISO8601", errors="coerce"
        )
        return moments
    return _plain(text.cast(pa.float64() if kind == "number" else pa.bool_()))


def _error_text(detail: str) -> str:
    """Return what Excel shows in an error cell, from the reader's ``… got 'Error(NA)'``."""
    word = detail.partition("Error(")[2].partition(")")[0]
    return _ERROR_CELLS.get(word, "#ERROR!")


def _first_line(exc: BaseException) -> str:
    return str(exc).partition("\n")[0]
