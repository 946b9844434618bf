"""From a table to the matrix, by column: spreadsheets, Arrow streams and training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from aimq.schema import error_texts
from aimq.schema.model import Feature, FeatureType, Schema, category_key

#: Kinds of columns (of `pandas.api.types.infer_dtype`) without a boolean or a date.
_PLAIN: Final = frozenset({"integer", "floating", "mixed-integer-float", "string", "empty"})

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """A table read by a schema; n rows.

    Attributes:
        groups: int16 (n,), index into ``schema.groups``, -1 where wrong.
        values: one float64 (n,) per feature in matrix order: numbers, or codes of categories.
        errors: object (n,), error text of a wrong row, else None.
    """

    schema: Schema
    groups: NDArray[np.int16]
    values: list[Floats]
    errors: NDArray[np.object_]

    @cached_property
    def valid(self) -> Mask:
        """Bool (n,): rows without an error."""
        return np.array([error is None for error in self.errors.tolist()], dtype=np.bool_)

    def matrix(self, rows: Mask | slice = slice(None)) -> NDArray[np.float32]:
        """Return the chosen rows as float32 (rows, features), C order."""
        out = np.empty((len(self.groups[rows]), len(self.values)), dtype=np.float32)
        for index, column in enumerate(self.values):
            out[:, index] = column[rows]
        return out

    def table(self, rows: Mask | slice = slice(None)) -> pa.Table:
        """Return the chosen rows, which must be valid, as an Arrow table in canonical form.

        Numbers become float64, categories dictionary-encoded strings; `read_columns` of the
        table gives the same values again.
        """
        arrays = [_dictionary(self.groups[rows], self.schema.groups)]
        for feature, column in zip(self.schema.features, self.values, strict=True):
            chosen = column[rows]
            plain = pa.array(chosen) if feature.numeric else _dictionary(chosen, feature.categories)
            arrays.append(plain)
        return pa.table(arrays, names=list(self.schema.columns))


def _dictionary(codes: NDArray[np.generic], words: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int16)), pa.array(words))


def read_columns(schema: Schema, frame: pd.DataFrame) -> Columns:
    """Validate and encode a table, whole columns at a time.

    Args:
        frame: has every column of ``schema.columns`` under that very name; values of any type.
            Text that reads as a number is one, as spreadsheets often hold it.
    """
    errors = np.full(len(frame), None, dtype=np.object_)
    group = _read_category(schema.group_feature, frame[schema.group])
    groups = group.astype(np.int16)
    names = np.array([*schema.groups, None], dtype=np.object_)[groups]
    _note(errors, schema.group_feature, frame[schema.group], group < 0, names)
    values = []
    for feature in schema.features:
        series = frame[feature.name]
        if feature.numeric:
            column = _read_number(feature, series)
            bad = np.isnan(column)
        else:
            column = _read_category(feature, series)
            bad = ~_known(schema, feature)[groups, column.astype(np.intp)]
        _note(errors, feature, series, bad, names)
        values.append(column)
    return Columns(schema, groups, values, errors)


def _note(
    errors: NDArray[np.object_],
    feature: Feature,
    series: pd.Series[Any],
    bad: Mask,
    groups: NDArray[np.object_],
) -> None:
    """Add an error text to every bad row."""
    rows = np.flatnonzero(bad)
    for row, value in zip(rows, series.iloc[rows], strict=True):  # wrong rows only
        text = f"{feature.name}: {error_texts.wrong(feature, _shown(value), groups[row])}"
        errors[row] = text if errors[row] is None else f"{errors[row]}; {text}"


def _shown(value: Any) -> object:  # noqa: ANN401 # a cell of any kind
    """Return a cell as a record would hold it, a missing one as None."""
    if pd.isna(value):
        return None
    plain = value.item() if isinstance(value, np.generic) else value
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def _read_category(feature: Feature, series: pd.Series[Any]) -> Floats:
    """Return codes, -1 where wrong."""
    places, words = _distinct(series)
    codes = feature.codes()
    # The last entry stands for a missing value: place -1 finds it.
    table = [codes.get(category_key(word), -1) for word in words]
    return np.array([*table, -1], dtype=np.float64)[places]


def _distinct(series: pd.Series[Any]) -> tuple[NDArray[np.intp], NDArray[np.object_]]:
    """Return the distinct values, and the place of each row's among them (-1: missing)."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy().astype(np.intp)
        return codes, series.cat.categories.to_numpy(dtype=object)
    if series.dtype == object and pd.api.types.infer_dtype(series, skipna=True) not in _PLAIN:
        series = series.map(category_key, na_action="ignore")  # True would count as equal to 1
    places, words = pd.factorize(series, use_na_sentinel=True)
    return places, np.asarray(words, dtype=object)


def _known(schema: Schema, feature: Feature) -> Mask:
    """Return a table of group by code: True if the group knows the category.

    The last row stands for an unknown group, the last column for an unknown category.
    """
    known = np.ones((len(schema.groups) + 1, len(feature.categories) + 1), dtype=np.bool_)
    for index, group in enumerate(schema.groups):
        known[index, :-1] = np.isin(feature.categories, feature.categories_of(group))
    known[:, -1] = False
    return known


def _read_number(feature: Feature, series: pd.Series[Any]) -> Floats:
    """Return numbers, NaN where wrong."""
    column = _to_floats(series)
    with np.errstate(invalid="ignore"):
        bad = ~((column >= feature.minimum) & (column <= feature.maximum))
        if feature.type is FeatureType.INTEGER:
            bad |= column != np.floor(column)
    return np.where(bad, np.nan, column)


def _to_floats(series: pd.Series[Any]) -> Floats:
    """Return float64, NaN where a cell is no number, such as a boolean or a date."""
    kind = series.dtype.kind if isinstance(series.dtype, np.dtype) else ""
    if kind in "iuf" and kind:
        return np.asarray(series.to_numpy(), dtype=np.float64)
    if kind in "bmM" and kind:
        return np.full(len(series), np.nan)
    if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
    cells = series.astype(object)
    if pd.api.types.infer_dtype(cells, skipna=True) not in _PLAIN:
        cells = pd.Series([cell if _numberlike(cell) else None for cell in cells], dtype=object)
    try:
        parsed = pd.to_numeric(cells, errors="coerce")
    except OverflowError:  # an int beyond float
        cells = cells.map(lambda cell: None if _beyond_float(cell) else cell).astype(object)
        parsed = pd.to_numeric(cells, errors="coerce")
    return np.asarray(parsed.to_numpy(), dtype=np.float64)


def _numberlike(cell: object) -> bool:
    return isinstance(cell, str | int | float | np.number) and not isinstance(cell, bool)


def _beyond_float(cell: object) -> bool:
    return isinstance(cell, int) and cell.bit_length() > sys.float_info.max_exp - 1
