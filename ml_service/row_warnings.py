"""Warnings: what a row has that the table its version was trained on had not.

A number or a date outside the range of the training rows, a category that was not among them, and
two values that are common apart and never occur in one training row.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable
from math import inf
from typing import Final

import numpy as np

from aimq.profile import ColumnProfile, Profile
from aimq.schema import Feature, FeatureType, Schema, error_texts
from aimq.schema.feature import BLANK, EPOCH
from ml_service.float_format import shortest
from ml_service.runtimes.port import Matrix

#: Warnings of a row that are written out.
MOST: Final = 3
#: Rows that are checked together; the memory of a check is this times the number of pairs.
_ROWS: Final = 4096

#: Name of a feature and row to the category that was given there.
Given = Callable[[str, int], object]


class RowWarnings:
    """Finds what is unusual in rows of the matrix. Immutable; thread-safe.

    Args:
        profile: of the training rows; has the columns of the schema's matrix.
    """

    def __init__(self, schema: Schema, profile: Profile) -> None:
        self._columns = list(zip(schema.matrix_features, profile.columns, strict=True))
        self._low, self._high = np.array([_range(*each) for each in self._columns]).T[:, :, None]
        pairs = np.array(profile.never_together, np.intp).reshape(-1, 2)  # two bins for each pair
        bins, places = np.unique(pairs, axis=0, return_inverse=True)
        self._first, self._second = places.reshape(-1, 2).T
        limits = [_limits(profile.columns[column], bin_) for column, bin_ in bins.tolist()]
        self._from, self._below = np.array(limits).reshape(-1, 2).T[:, :, None]
        self._bin_columns = bins[:, 0]

    def find(self, matrix: Matrix, given: Given) -> dict[int, str]:
        """Return the warnings of a matrix: row to text, for the rows that have any."""
        found: dict[int, str] = {}
        for start in range(0, len(matrix), _ROWS):
            for row, checks in self._failed(matrix[start : start + _ROWS]).items():
                found[start + row] = self._text(start + row, checks, matrix, given)
        return found

    def _failed(self, matrix: Matrix) -> dict[int, list[int]]:
        """Return the failed checks by row: one for each column, then one for each pair of bins."""
        columns = matrix.T
        outside = (columns < self._low) | (columns > self._high)
        values = columns[self._bin_columns]
        inside = (values >= self._from) & (values < self._below)
        together = inside[self._first] & inside[self._second]
        rows, checks = np.nonzero(np.concatenate([outside, together]).T)
        failed: defaultdict[int, list[int]] = defaultdict(list)
        for row, check in zip(rows.tolist(), checks.tolist(), strict=True):
            failed[row].append(check)
        return failed

    def _text(self, row: int, checks: list[int], matrix: Matrix, given: Given) -> str:
        values = matrix[row].tolist()
        texts = [self._sentence(check, values, row, given) for check in checks[:MOST]]
        more = [f"and {len(checks) - MOST} more"] if len(checks) > MOST else []
        return "; ".join(texts + more)

    def _sentence(self, check: int, values: list[float], row: int, given: Given) -> str:
        if check >= len(self._columns):
            pair = check - len(self._columns)
            ends = (int(self._bin_columns[sides[pair]]) for sides in (self._first, self._second))
            first, second = (_described(*self._columns[end], values[end]) for end in ends)
            return f"{first} with {second} does not occur in the training table"
        feature, column = self._columns[check]
        if column.coded:
            word = error_texts.quote(given(feature.name, row))
            rare = ", or rare there" if column.counts[0] else ""  # rare ones have the same code
            return f"{feature.name}: {word} was not in the training table{rare}"
        value, low, high = (_value(feature, v) for v in (values[check], column.low, column.high))
        return f"{feature.name}: {value} is outside what was trained on ({low} to {high})"


def _range(feature: Feature, column: ColumnProfile) -> tuple[float, float]:
    """Return the smallest and the largest value without a warning.

    A date may lie as far beyond the training dates as these span: rows to predict are usually
    later than the rows learnt from.
    """
    if column.coded:
        return BLANK, inf
    if column.name != feature.matrix_columns[0]:  # a date's month, a flag of blanks
        return -inf, inf
    margin = column.high - column.low if feature.type is FeatureType.DATE else 0.0
    return column.low - margin, column.high + margin


def _limits(column: ColumnProfile, bin_: int) -> tuple[float, float]:
    """Return where a bin begins, inclusive, and ends, exclusive."""
    edges = [-inf, *column.edges, inf]
    return edges[bin_], edges[bin_ + 1]


def _described(feature: Feature, column: ColumnProfile, value: float) -> str:
    if column.name == f"{feature.name}.blank":
        return f"{feature.name} {'blank' if value else 'not blank'}"
    if column.name != feature.matrix_columns[0]:
        return f"{column.name} {value:g}"
    return f"{feature.name} {_value(feature, value)}"


def _value(feature: Feature, value: float) -> str:
    """Return a value of a feature's first column as a person would write it."""
    if feature.type is FeatureType.DATE:
        return (EPOCH + dt.timedelta(days=value)).isoformat()
    if not feature.coded:
        return shortest(np.float32(value)).removesuffix(".0")
    if value < 0:
        return "blank" if value == BLANK else "not listed"
    if feature.type is FeatureType.BOOLEAN:
        return "true" if value else "false"
    return error_texts.quote(feature.categories[int(value)])
