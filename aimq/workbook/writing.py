"""Writes a table as an .xlsx: text is never a formula, dates keep a date's format.

Columns whose cells are all alike go to the writer as Arrow, without a Python object per cell. A
sheet with a column of mixed cells is written row by row instead, which is slower.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import pandas as pd
import pyarrow as pa
import rustpy_xlsxwriter as xlsx

from aimq.workbook.integers import copy_with_integers
from aimq.workbook.sheet import Sheet

#: Excel's limit, in characters.
MAX_TEXT: Final = 32_767
#: Day 0 of Excel's calendar as it holds from March 1900 on; before, it is a day off
#: (it has a 29 February 1900), as is well known.
_EPOCH: Final = pd.Timestamp("1899-12-30")
_LEAP_BUG: Final = 61
_DAY: Final = pd.Timedelta(days=1)

_DATE, _MOMENT = "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"
_TIME, _DURATION = "hh:mm:ss", "[h]:mm:ss"


def write_workbook(sheet: Sheet, target: Path | BinaryIO) -> None:
    """Write the sheet as a workbook with one sheet to a path, replacing what is there, or a stream.

    Args:
        sheet: no text of it longer than `MAX_TEXT` characters.
    """
    cells = [_cells(sheet.frame[place]) for place in range(len(sheet.headers))]
    columns = [column for column, _ in cells]
    mixed = any(column.dtype == object for column in columns)
    with tempfile.TemporaryFile() as draft:
        xlsx.write_worksheet(
            _records(sheet.headers, columns) if mixed else _table(sheet.headers, columns),
            draft,
            sheet_name=sheet.name,
            column_formats=_formats(sheet.headers, [number_format for _, number_format in cells]),
        )
        copy_with_integers(draft, target)


_Formats = dict[str, xlsx.Format] | list[xlsx.Format] | None


def _formats(headers: list[str], formats: list[str]) -> _Formats:
    """Return what the writer takes as formats: none if it can be, for they slow it down."""
    if not any(formats):
        return None
    if len(set(headers)) == len(headers):
        named = zip(headers, formats, strict=True)
        return {header: xlsx.Format().set_num_format(word) for header, word in named if word}
    return [xlsx.Format().set_num_format(word) if word else xlsx.Format() for word in formats]


def _cells(series: pd.Series[Any]) -> tuple[pd.Series[Any], str]:
    """Return a column as the writer takes it, and its number format ("" for general)."""
    if series.dtype.kind == "M":
        serial = _serial(series)
        return serial, _date_format(serial)
    if series.dtype.kind == "m":
        days: pd.Series[Any] = series.dt.total_seconds() / _DAY.total_seconds()
        return days, _DURATION
    if series.dtype != object:
        return series, ""
    cells = series.where(series.notna(), None)
    dates = cells.map(lambda cell: isinstance(cell, pd.Timestamp)).to_numpy(dtype=bool)
    if not dates.any():
        return cells, ""
    numbers = cells.map(lambda cell: isinstance(cell, float)).any()
    if numbers:  # one column has one format, and a number must not turn into a date
        cells.loc[dates] = cells[dates].map(str)
        return cells, ""
    serial = _serial(pd.to_datetime(cells[dates]))
    cells.loc[dates] = serial.astype(object)
    return cells, _date_format(serial)


def _serial(moments: pd.Series[Any]) -> pd.Series[Any]:
    """Return moments as days of Excel's calendar."""
    days = (moments - _EPOCH) / _DAY
    return days.where(~(days < _LEAP_BUG), days - 1)


def _date_format(serial: pd.Series[Any]) -> str:
    known = serial.dropna()
    if (known < 1).all():
        return _TIME
    return _DATE if (known % 1 == 0).all() else _MOMENT


def _table(headers: list[str], columns: list[pd.Series[Any]]) -> pa.Table:
    return pa.Table.from_arrays([pa.array(c, from_pandas=True) for c in columns], names=headers)


def _records(headers: list[str], columns: list[pd.Series[Any]]) -> Iterator[dict[str, Any]]:
    names = [_Name(header) for header in headers]
    lists = [column.astype(object).where(column.notna(), None).tolist() for column in columns]
    for row in zip(*lists, strict=True):
        yield dict(zip(names, row, strict=True))


class _Name(str):
    """A header that equals itself alone, so that one record can have the same header twice."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__
