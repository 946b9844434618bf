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

from aimq.schema import messages
from aimq.schema.model import Feature, FeatureType, Schema, fold

#: Kinds of cells (of `pandas.api.types.infer_dtype`) among which no boolean or date hides.
_PLAIN: Final = frozenset({"integer", "floating", "mixed-integer-float", "string", "empty"})

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """A table read by a schema; n rows.

    Attributes:
        groups: int16 (n,), index into ``schema.groups``, -1 where wrong.
        values: one float64 (n,) per feature in matrix order: numbers, or codes of categories.
        errors: object (n,), what is wrong with the row, or None.
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
        frame: has every column of ``schema.columns`` under that very name; values may be of any
            type: text that reads as a number counts as one, as spreadsheets often hold it.
    """
    errors = np.full(len(frame), None, dtype=np.object_)
    group_feature = Feature(name=schema.group, type=FeatureType.CATEGORY, categories=schema.groups)
    groups, bad, said = _read_category(group_feature, frame[schema.group])
    _note(errors, schema.group, bad, said)
    group_codes = groups.astype(np.int16)
    values = []
    for feature in schema.features:
        series = frame[feature.name]
        if feature.numeric:
            column, bad, said = _read_number(feature, series)
        else:
            column, bad, said = _read_category(feature, series)
            _foreign_to_group(schema, feature, group_codes, column, bad, said)
        _note(errors, feature.name, bad, said)
        values.append(column)
    return Columns(schema, group_codes, values, errors)


def _note(errors: NDArray[np.object_], name: str, bad: Mask, said: NDArray[np.object_]) -> None:
    for row in np.flatnonzero(bad):  # wrong rows only
        sentence = f"{name}: {said[row]}"
        errors[row] = sentence if errors[row] is None else f"{errors[row]}; {sentence}"


def _read_category(
    feature: Feature, series: pd.Series[Any]
) -> tuple[Floats, Mask, NDArray[np.object_]]:
    """Return codes (-1 where wrong), the wrong rows, and a sentence where a row is wrong."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        places, words = series.cat.codes.to_numpy(), series.cat.categories.to_numpy(dtype=object)
    else:
        places, uniques = pd.factorize(series, use_na_sentinel=True)
        words = np.asarray(uniques, dtype=object)
    codes = feature.codes()
    # The last entry stands for a missing value: place -1 finds it.
    table = np.array([codes.get(fold(_text(word)), -1) for word in words] + [-1], dtype=np.float64)
    blank = [messages.MISSING if not _text(word).strip() else None for word in words]
    sentences = np.array(
        [
            None if code >= 0 else empty or messages.wrong(feature, word)
            for code, empty, word in zip(table, blank, words, strict=False)
        ]
        + [messages.MISSING],
        dtype=np.object_,
    )
    column: Floats = table[places]
    return column, column < 0, sentences[places]


def _text(word: object) -> str:
    """Return a cell as text; a whole number without its ``.0``, as a spreadsheet shows it."""
    if isinstance(word, float) and word.is_integer():
        return str(int(word))
    return word if isinstance(word, str) else messages.quote(word)


def _foreign_to_group(
    schema: Schema,
    feature: Feature,
    groups: NDArray[np.int16],
    column: Floats,
    bad: Mask,
    said: NDArray[np.object_],
) -> None:
    """Mark categories that exist, but not in the row's group."""
    for index, group in enumerate(schema.groups):
        known = feature.by_group.get(group)
        if known is None:
            continue
        allowed = np.isin(feature.categories, known)
        mine = (groups == index) & ~bad
        codes = column[mine].astype(np.intp)
        foreign = np.flatnonzero(mine)[~allowed[codes]]
        bad[foreign] = True
        for row in foreign:  # wrong rows only
            said[row] = messages.wrong(feature, feature.categories[int(column[row])], group)


def _read_number(
    feature: Feature, series: pd.Series[Any]
) -> tuple[Floats, Mask, NDArray[np.object_]]:
    """Return numbers (NaN where wrong), the wrong rows, and a sentence where a row is wrong."""
    column = _to_floats(series)
    with np.errstate(invalid="ignore"):
        bad: Mask = ~((column >= feature.minimum) & (column <= feature.maximum))
        if feature.type is FeatureType.INTEGER:
            bad |= column != np.floor(column)
    said = np.full(len(series), None, dtype=np.object_)
    wrong = np.flatnonzero(bad)
    for row, value in zip(wrong, series.iloc[wrong], strict=True):  # wrong rows only
        blank = not value.strip() if isinstance(value, str) else pd.isna(value)
        said[row] = messages.MISSING if blank else messages.wrong(feature, _shown(value))
    column = np.where(bad, np.nan, column)
    return column, bad, said


def _shown(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.item() if isinstance(value, np.generic) else value


def _to_floats(series: pd.Series[Any]) -> Floats:
    """Return float64 with NaN for what is no number. Booleans and dates are none."""
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
