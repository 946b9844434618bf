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
        values: one float64 (n,) per feature in matrix order: numbers, or codes of categories; NaN
            where wrong.
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
    names = np.array([*schema.groups, None], dtype=np.object_)  # the last: an unknown group
    groups = np.full(len(frame), -1, dtype=np.int16)
    values = []
    for feature in (schema.group_feature, *schema.features):
        series = frame[feature.name]
        if feature.numeric:
            column = _read_number(feature, series)
        else:
            column = _read_category(feature, series, groups, names)
        _note(errors, feature, series, column, names[groups])
        if feature.name == schema.group:
            groups = np.nan_to_num(column, nan=-1).astype(np.int16)
        else:
            values.append(column)
    return Columns(schema, groups, values, errors)


def _note(
    errors: NDArray[np.object_],
    feature: Feature,
    series: pd.Series[Any],
    column: Floats,
    groups: NDArray[np.object_],
) -> None:
    """Add an error text to every row whose value is NaN."""
    rows = np.flatnonzero(np.isnan(column))
    for row, value in zip(rows, series.iloc[rows], strict=True):
        text = f"{feature.name}: {error_texts.wrong(feature, _shown(value), groups[row])}"
        errors[row] = text if errors[row] is None else f"{errors[row]}; {text}"


def _shown(value: Any) -> object:  # noqa: ANN401 # a cell of any kind
    """Return a cell as a record would hold it, a missing one as None."""
    if pd.isna(value):
        return None
    plain = value.item() if isinstance(value, np.generic) else value
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def _read_category(
    feature: Feature,
    series: pd.Series[Any],
    groups: NDArray[np.int16],
    names: NDArray[np.object_],
) -> Floats:
    """Return the codes that each row's group knows, NaN where wrong."""
    places, words = _distinct(series)
    keys = [*map(category_key, words), ""]  # place -1 finds the last, a missing value
    known = [feature.codes(name) for name in names]
    table = [[codes.get(key, np.nan) for key in keys] for codes in known]
    return np.array(table, dtype=np.float64)[groups, places]


def _distinct(series: pd.Series[Any]) -> tuple[NDArray[np.intp], NDArray[np.object_]]:
    """Return each row's place among the distinct values (-1: missing), and these values."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy().astype(np.intp)
        return codes, series.cat.categories.to_numpy(dtype=object)
    if series.dtype == object and pd.api.types.infer_dtype(series, skipna=True) not in _PLAIN:
        series = series.map(category_key, na_action="ignore")  # True would count as equal to 1
    places, words = pd.factorize(series, use_na_sentinel=True)
    return places, np.asarray(words, dtype=object)


def _read_number(feature: Feature, series: pd.Series[Any]) -> Floats:
    """Return numbers, NaN where wrong."""
    column = _to_floats(series)
    good = (column >= feature.minimum) & (column <= feature.maximum)
    if feature.type is FeatureType.INTEGER:
        good &= column == np.floor(column)
    return np.where(good, column, np.nan)


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
