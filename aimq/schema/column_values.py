"""How one column of a table becomes columns of the matrix, NaN where a value is wrong."""

from __future__ import annotations

import datetime as dt
import math
import sys
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aimq.schema.feature import Feature, FeatureType, category_key, date_values
from aimq.schema.values import is_blank, read_code, read_date

#: Kinds of columns (of `pandas.api.types.infer_dtype`) without a boolean or a date.
_PLAIN: Final = frozenset({"integer", "floating", "mixed-integer-float", "string", "empty"})
#: The first and the last day that a date may be, as NumPy counts them.
_FIRST, _LAST = (np.datetime64(day, "D") for day in (dt.date.min, dt.date.max))

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


def read_codes(
    feature: Feature,
    series: pd.Series[Any],
    groups: NDArray[np.int16],
    names: NDArray[np.object_],
) -> Floats:
    """Return the codes of categories, as each row's group knows them, or of booleans.

    Args:
        groups: (n,), place of each row's group in `names`.
        names: of the groups; None stands for any group.
    """
    if feature.type is FeatureType.CATEGORY:
        series = _without_booleans(series)
    places, words = _distinct(series)
    if not feature.by_group:  # every group knows the same
        names, groups = names[-1:], np.zeros_like(groups)
    table = []
    for name in names:
        codes = {spelling: (float(code),) for spelling, code in feature.codes(name).items()}
        found = [read_code(feature, codes, word) for word in (*words, None)]
        table.append([math.nan if code is None else code[0] for code in found])
    return np.array(table, dtype=np.float64)[groups, places]


def read_dates(feature: Feature, series: pd.Series[Any]) -> list[Floats]:
    """Return the columns of dates: days, month, weekday, and 1 where blank if they may be."""
    if pd.api.types.is_datetime64_any_dtype(series):
        stamps = series.dt.tz_localize(None) if series.dt.tz is not None else series
        places, words = pd.factorize(stamps.to_numpy().astype("datetime64[D]"))
        fits = (words >= _FIRST) & (words <= _LAST)
        days = [day if fit else math.inf for day, fit in zip(words.tolist(), fits, strict=True)]
        return _date_columns(feature, places, days)
    places, cells = _distinct(series)
    return _date_columns(feature, places, cells.tolist())


def _date_columns(feature: Feature, places: NDArray[np.intp], cells: list[Any]) -> list[Floats]:
    """Read distinct cells as dates, and spread them over the rows."""
    width = len(feature.matrix_columns)
    wrong = (math.nan,) * width
    rows = []
    for cell in (*cells, None):  # place -1 finds the last, a missing value
        day = read_date(cell)
        if day is not None:
            rows.append((*date_values(day), 0.0)[:width])
        else:
            rows.append(feature.blank_values if feature.blank and is_blank(cell) else wrong)
    return list(np.ascontiguousarray(np.array(rows, dtype=np.float64)[places].T))


def read_numbers(feature: Feature, series: pd.Series[Any]) -> list[Floats]:
    """Return the column of numbers, and one that is 1 where blank if they may be."""
    column = _to_floats(series)
    good = (column >= feature.minimum) & (column <= feature.maximum)
    if feature.type is FeatureType.INTEGER:
        good &= column == np.floor(column)
    column = np.where(good, column, np.nan)
    if not feature.blank:
        return [column]
    blank = _blank(series, ~good)
    column[blank] = feature.blank_values[0]
    return [column, blank.astype(np.float64)]


def _blank(series: pd.Series[Any], among: Mask) -> Mask:
    """Return which of the rows in question are missing."""
    blank = np.zeros(len(series), dtype=np.bool_)
    places, words = pd.factorize(series[among], use_na_sentinel=True)
    blank[among] = np.array([*map(is_blank, words), True])[places]
    return blank


def _without_booleans(series: pd.Series[Any]) -> pd.Series[Any]:
    """Make other cells than text and numbers infinite, for True would count as equal to 1."""
    if series.dtype != object or pd.api.types.infer_dtype(series, skipna=True) in _PLAIN:
        return series
    return series.map(
        lambda cell: cell if isinstance(cell, str) else category_key(cell) or math.inf,
        na_action="ignore",
    )


def _distinct(series: pd.Series[Any]) -> tuple[NDArray[np.intp], NDArray[np.object_]]:
    """Return each row's place among the distinct values (-1: missing), and these values."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy().astype(np.intp)
        return codes, series.cat.categories.to_numpy(dtype=object)
    places, words = pd.factorize(series, use_na_sentinel=True)
    return places, np.asarray(words, dtype=object)


def _to_floats(series: pd.Series[Any]) -> Floats:
    """Return float64, NaN where a cell is no number, such as a boolean or a date."""
    if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
    cells = series.astype(object)
    if pd.api.types.infer_dtype(cells, skipna=True) != "string":
        cells = pd.Series([cell if _numberlike(cell) else None for cell in cells], dtype=object)
    return np.asarray(pd.to_numeric(cells, errors="coerce").to_numpy(), dtype=np.float64)


def _numberlike(cell: object) -> bool:
    """True if a cell is text or a number that float can hold."""
    if type(cell) is int:
        return cell.bit_length() < sys.float_info.max_exp
    return isinstance(cell, str | float | np.number)
