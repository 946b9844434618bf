"""Reading dates as people write them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: A time of day after a date; dropped.
_TIME: Final = r"(?:[T ]\d{1,2}:\d{2}.*)?"
_YEAR_FIRST: Final = rf"^(\d{{4}})([-/.])(\d{{1,2}})\2(\d{{1,2}}){_TIME}$"
_YEAR_LAST: Final = rf"^(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}){_TIME}$"

_MONTHS: Final = 12

Days = NDArray[np.datetime64]
Mask = NDArray[np.bool_]


class DateFault(StrEnum):
    """Why the dates of a column cannot be told."""

    NONE = ""
    MIXED = "mixed"
    AMBIGUOUS = "ambiguous"


class Dates(NamedTuple):
    """Texts read as dates; n texts.

    Attributes:
        days: datetime64[D] (n,), NaT where a text is no date, and everywhere if there is a fault.
        dated: bool (n,), texts that look like dates.
        examples: two texts that show the fault.
    """

    days: Days
    dated: Mask
    fault: DateFault = DateFault.NONE
    examples: tuple[str, ...] = ()


def read_dates(texts: pd.Series[str]) -> Dates:
    """Read the distinct texts of a column, without outer spaces.

    All must be written alike: ``2024-05-31``, ``2024/5/31``, ``31.5.2024``, ``31/05/2024`` or
    ``05/31/2024``, the last two told apart by a number over 12. A time of day is dropped.
    """
    first = texts.str.extract(_YEAR_FIRST)
    last = texts.str.extract(_YEAR_LAST)
    shape = ("y" + first[1]).fillna("d" + last[1])
    dated = shape.notna().to_numpy()
    shapes = shape.dropna().drop_duplicates().sort_values()
    if len(shapes) > 1:
        return _faulty(dated, DateFault.MIXED, texts[shapes.index[:2]])
    if first[1].notna().any():
        return Dates(_days(first[0], first[2], first[3]), dated)
    return _year_last(texts, dated, last)


def _year_last(texts: pd.Series[str], dated: Mask, parts: pd.DataFrame) -> Dates:
    """Read dates that end with the year; what comes first is the day if one is over 12."""
    day_first, month_first = (texts[pd.to_numeric(parts[column]) > _MONTHS] for column in (0, 2))
    if len(day_first) and len(month_first):
        return _faulty(dated, DateFault.MIXED, [day_first.iloc[0], month_first.iloc[0]])
    if len(month_first):
        return Dates(_days(parts[3], parts[0], parts[2]), dated)
    if dated.any() and not len(day_first) and not parts[1].eq(".").any():
        return _faulty(dated, DateFault.AMBIGUOUS, texts[dated][:2])
    return Dates(_days(parts[3], parts[2], parts[0]), dated)


def _faulty(dated: Mask, fault: DateFault, examples: Iterable[str]) -> Dates:
    return Dates(np.full(len(dated), "NaT", dtype="datetime64[D]"), dated, fault, tuple(examples))


def _days(year: pd.Series[str], month: pd.Series[str], day: pd.Series[str]) -> Days:
    """Return datetime64[D] (n,), NaT where there is no such day."""
    joined = year + "-" + month + "-" + day
    read = pd.to_datetime(joined, format="%Y-%m-%d", errors="coerce")
    return read.to_numpy().astype("datetime64[D]")
