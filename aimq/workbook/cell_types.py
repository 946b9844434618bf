"""Reads a sheet whose columns mix types, or that has error cells (``#N/A``).

The reader gives a column one type; each cell's own would be lost. So the sheet is read four times,
once as each type, and what every cell is follows from which conversions it took:

- as text: everything but error cells, which are reported;
- as boolean: numbers and booleans only (text and dates are refused);
- as float: numbers, with all their digits (text that reads as one, too);
- as duration: dates, times and durations only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import fastexcel
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from aimq.workbook.sheet import labelled, plain

_Convert = Callable[[pa.Array], "pd.Series[Any]"]

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


def read_mixed(reader: fastexcel.ExcelReader, sheet: fastexcel.ExcelSheet) -> pd.DataFrame:
    """Read a sheet with columns of several types.

    Args:
        sheet: loaded as text.
    """
    texts, errors = sheet.to_arrow_with_errors()
    truths, numbers, dates = (
        reader.load_sheet(sheet.name, dtypes=kind).to_arrow().columns
        for kind in ("boolean", "float", "duration")
    )
    cells = [_Cells(*column) for column in zip(texts.columns, truths, numbers, dates, strict=True)]
    columns = [one.series() for one in cells]
    for place, series in _pure_dates(reader, sheet.name, cells).items():
        columns[place] = series
    for cell in errors.errors if errors else []:
        row, place = cell.offset_position
        columns[place] = columns[place].astype(object)
        columns[place].iat[row] = _error_text(cell.detail)
    return labelled(columns)


def _pure_dates(
    reader: fastexcel.ExcelReader, name: str, cells: list[_Cells]
) -> dict[int, pd.Series[Any]]:
    """Read columns of nothing but dates again: only the reader tells a date from a duration."""
    places = [place for place, one in enumerate(cells) if one.all_dates]
    if not places:
        return {}
    try:
        sheet = reader.load_sheet(
            name, dtype_coercion="strict", schema_sample_rows=None, use_columns=places
        )
    except fastexcel.UnsupportedColumnTypeCombinationError:  # durations among dates
        return {}
    return {
        place: plain(column) for place, column in zip(places, sheet.to_arrow().columns, strict=True)
    }


class _Cells:
    """One column, read as each type."""

    def __init__(self, text: pa.Array, truth: pa.Array, number: pa.Array, date: pa.Array) -> None:
        words = pc.fill_null(pc.is_in(text, pa.array(["true", "false"])), False)
        self._text = text
        self._filled = len(text) - text.null_count
        self._truths = pc.and_(truth.is_valid(), words)
        self._numbers = pc.and_not(truth.is_valid(), words)
        self._dates = date.is_valid()
        self._number = number

    @property
    def all_dates(self) -> bool:
        """Tell whether there are dates, times or durations and nothing else."""
        return bool(self._filled) and pc.sum(self._dates).as_py() == self._filled

    def series(self) -> pd.Series[Any]:
        """Return the column as of one type if it is of one, else as objects."""
        kinds: list[tuple[pa.Array, _Convert]] = [
            (self._numbers, lambda mask: plain(pc.if_else(mask, self._number, None))),
            (self._truths, lambda mask: plain(self._of(mask).cast(pa.bool_()))),
            (self._dates, lambda mask: _moments(self._of(mask))),
        ]
        kinds = [(mask, convert) for mask, convert in kinds if pc.any(mask).as_py()]
        if not kinds:
            return plain(self._text)
        for mask, convert in kinds:
            if pc.sum(mask).as_py() == self._filled:
                return convert(mask)
        cells: pd.Series[Any] = self._text.to_pandas().astype(object)
        cells = cells.where(self._text.is_valid().to_pandas(), None)
        for mask, convert in kinds:
            chosen = np.flatnonzero(mask.to_numpy(zero_copy_only=False))
            cells.iloc[chosen] = convert(mask).iloc[chosen].astype(object)
        return cells

    def _of(self, mask: pa.Array) -> pa.Array:
        return pc.if_else(mask, self._text, None)


def _moments(text: pa.Array) -> pd.Series[Any]:
    moments: pd.Series[Any] = pd.to_datetime(text.to_pandas(), format="ISO8601", errors="coerce")
    return moments


def _error_text(detail: str) -> str:
    """Return what Excel shows in an error cell, from the reader's ``… got 'Error(NA)'``."""
    word = detail.partition("Error(")[2].partition(")")[0]
    return _ERROR_CELLS.get(word, "#ERROR!")
