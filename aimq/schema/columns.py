"""From a table to the matrix, by column: spreadsheets, Arrow streams and training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from aimq.schema import column_values, error_texts
from aimq.schema.column_values import Floats, Mask
from aimq.schema.feature import BLANK, EPOCH, OTHER, Feature, FeatureType, category_key
from aimq.schema.model import Schema

#: Days from 1970-01-01, where NumPy counts from, to `EPOCH`.
_EPOCH_DAY: Final = int(np.datetime64(EPOCH, "D").astype(np.int64))


@dataclass(frozen=True)
class Columns:
    """A table read by a schema; n rows.

    Attributes:
        groups: int16 (n,), index into ``schema.groups``, -1 where wrong.
        values: one float64 (n,) per column of the matrix; NaN where wrong.
        errors: object (n,), error text of a wrong row, else None.
        others: feature that takes other categories to the text of each row that has one; object
            (n,), None elsewhere.
    """

    schema: Schema
    groups: NDArray[np.int16]
    values: list[Floats]
    errors: NDArray[np.object_]
    others: dict[str, NDArray[np.object_]] = field(default_factory=dict)

    @cached_property
    def valid(self) -> Mask:
        """Bool (n,): rows without an error."""
        return np.array([error is None for error in self.errors.tolist()], dtype=np.bool_)

    def matrix(self, rows: Mask | slice = slice(None)) -> NDArray[np.float32]:
        """Return the chosen rows as float32 (rows, width), C order."""
        out = np.empty((len(self.groups[rows]), len(self.values)), dtype=np.float32)
        for index, column in enumerate(self.values):
            out[:, index] = column[rows]
        return out

    def table(self, rows: Mask | slice = slice(None)) -> pa.Table:
        """Return the chosen rows, which must be valid, as an Arrow table in canonical form.

        Numbers become float64, categories dictionary-encoded strings, booleans and dates what
        Arrow calls so, missing values null; `read_columns` of the table gives the same values
        again.
        """
        arrays = []
        if self.schema.group is not None:
            arrays.append(_dictionary(self.groups[rows], self.schema.groups))
        columns = iter(self.values)
        for feature in self.schema.features:
            mine = [next(columns)[rows] for _ in feature.matrix_columns]
            if feature.other:
                arrays.append(_with_others(feature, mine[0], self.others[feature.name][rows]))
            else:
                arrays.append(_canonical(feature, mine))
        return pa.table(arrays, names=list(self.schema.columns))


def _canonical(feature: Feature, columns: list[Floats]) -> pa.Array:
    first = columns[0]
    if feature.type is FeatureType.CATEGORY:
        return _dictionary(first, feature.categories)
    blank = None
    if feature.blank:
        blank = first == BLANK if feature.coded else columns[-1] == 1
    if feature.type is FeatureType.BOOLEAN:
        return pa.array(first == 1, mask=blank)
    if feature.type is FeatureType.DATE:
        return pa.array((first + _EPOCH_DAY).astype("datetime64[D]"), mask=blank)
    return pa.array(first, mask=blank)


def _dictionary(codes: NDArray[np.generic], words: Sequence[str]) -> pa.DictionaryArray:
    places = codes.astype(np.int16)
    return pa.DictionaryArray.from_arrays(pa.array(places, mask=places < 0), pa.array(words))


def _with_others(
    feature: Feature, codes: Floats, others: NDArray[np.object_]
) -> pa.DictionaryArray:
    words = np.array([*feature.categories, None], dtype=np.object_)  # the last: a missing value
    listed = words[np.maximum(codes, BLANK).astype(np.int16)]
    texts = np.where(codes == OTHER, others, listed)
    return pa.array(texts, pa.string()).dictionary_encode()


def read_columns(schema: Schema, frame: pd.DataFrame) -> Columns:
    """Validate and encode a table, whole columns at a time.

    Args:
        frame: has every column of ``schema.required`` under that very name; values of any type.
            Text that reads as a number is one, as spreadsheets often hold it. Another column of
            ``schema.columns`` that is not there is blank in every row.
    """
    read = Columns(
        schema,
        groups=np.full(len(frame), -1 if schema.group is not None else 0, dtype=np.int16),
        values=[],
        errors=np.full(len(frame), None, dtype=np.object_),
    )
    names = np.array([*schema.groups, None], dtype=np.object_)  # the last: an unknown group
    for feature in schema.fields:
        series = _series(feature, frame)
        if feature.coded:
            codes = column_values.read_codes(feature, series, read.groups, names)
            columns = [codes]
        elif feature.type is FeatureType.DATE:
            columns = column_values.read_dates(feature, series)
        else:
            columns = column_values.read_numbers(feature, series)
        _note(read.errors, feature, series, columns[0], names[read.groups])
        if feature.name == schema.group:
            read.groups[:] = np.nan_to_num(columns[0], nan=-1).astype(np.int16)
            continue
        read.values.extend(columns)
        if feature.other:
            read.others[feature.name] = _others(series, columns[0])
    return read


def _series(feature: Feature, frame: pd.DataFrame) -> pd.Series[Any]:
    """Return the feature's column; one that may be blank need not be there."""
    if feature.blank and feature.name not in frame:
        return pd.Series(np.full(len(frame), None), dtype=object)
    return frame[feature.name]


def _others(series: pd.Series[Any], codes: Floats) -> NDArray[np.object_]:
    """Return the text of each category that is not listed."""
    texts = np.full(len(codes), None, dtype=np.object_)
    rows = codes == OTHER
    cells = series[rows].map(lambda cell: cell if isinstance(cell, str) else category_key(cell))
    texts[rows] = cells.astype(object).to_numpy()
    return texts


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
