"""A spreadsheet's table between reading and writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa


@dataclass(frozen=True)
class Sheet:
    """The table of one worksheet; n data rows.

    Attributes:
        name: of the worksheet.
        headers: of the columns as they stand in the file, blank ("") and duplicate ones included.
        frame: n rows; columns are labelled 0, 1, 2, … and are float64, bool, str, datetime64 or
            timedelta64 where all cells are alike, else object (str, float, bool, Timestamp).
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


def labelled(columns: list[pd.Series[Any]]) -> pd.DataFrame:
    """Return columns side by side, labelled 0, 1, 2, …."""
    return pd.concat(columns, axis=1, ignore_index=True)


def plain(column: pa.Array) -> pd.Series[Any]:
    """Return an Arrow column of one type as a `Sheet` holds it."""
    if pa.types.is_integer(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    series: pd.Series[Any] = column.to_pandas()
    if pa.types.is_boolean(column.type):
        series = series.astype("boolean")
    return series
