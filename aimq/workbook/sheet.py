"""The table of a worksheet between reading and writing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from aimq.workbook.cells import CellKind


@dataclass(frozen=True)
class Sheet:
    """The table of one worksheet; n data rows.

    Attributes:
        name: of the worksheet.
        headers: of the columns as they stand in the file, blank ("") and duplicate ones included.
        frame: n rows; columns are labelled 0, 1, 2, … and are float64, boolean or str where all
            cells are alike, else object (float, bool, str, datetime, date, time, timedelta).
            Empty cells are missing values.
    """

    name: str
    headers: list[str]
    frame: pd.DataFrame

    def with_columns(self, columns: Mapping[str, pd.Series[Any]]) -> Sheet:
        """Return the sheet with columns appended, whatever names it has already."""
        added = pd.DataFrame(dict(enumerate(columns.values())))
        frame = pd.concat([self.frame, added], axis=1, ignore_index=True)
        return Sheet(self.name, [*self.headers, *columns], frame)


def read_sheet(name: str, headers: list[str], cells: BinaryIO) -> Sheet:
    """Return the sheet whose cells are as `aimq.workbook.cells.write_columns` writes them."""
    table = pa.ipc.open_stream(cells).read_all()
    columns = [_series(column.combine_chunks()) for column in table.columns]
    return Sheet(name, headers, pd.concat(columns, axis=1, ignore_index=True))


def _series(cells: pa.StructArray) -> pd.Series[Any]:
    kinds, numbers, texts = (cells.field(name) for name in ("kind", "number", "text"))
    codes = kinds.to_numpy()
    present = set(np.unique(codes).tolist()) - {CellKind.EMPTY}
    if present <= {CellKind.NUMBER}:
        return pd.Series(numbers.to_numpy(zero_copy_only=False))
    if present == {CellKind.TEXT}:
        series: pd.Series[Any] = texts.to_pandas().astype("str")
        return series
    objects = np.full(len(codes), None, dtype=object)
    for kind in present:
        rows = np.flatnonzero(codes == kind)
        source = numbers if kind <= CellKind.DURATION else texts
        objects[rows] = [_VALUES[kind](value) for value in source.take(rows).to_pylist()]
    return pd.Series(objects, dtype="boolean" if present == {CellKind.TRUTH} else object)


_VALUES: Final[dict[int, Callable[[Any], Any]]] = {
    CellKind.NUMBER: float,
    CellKind.TRUTH: bool,
    CellKind.DURATION: lambda seconds: dt.timedelta(seconds=seconds),
    CellKind.TEXT: str,
    CellKind.DATE: dt.date.fromisoformat,
    CellKind.MOMENT: dt.datetime.fromisoformat,
    CellKind.TIME: dt.time.fromisoformat,
}
