"""The figures of the training rows that the service compares its rows with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aimq.profile import ColumnProfile, Profile
from aimq.schema import Columns, Schema
from aimq.schema.feature import Feature, FeatureType

#: A number of at most this many distinct values has a bin for each of them.
_DISTINCT: Final = 12
#: Pairs are searched among the first of the columns that have few bins; two of more columns rarely
#: say what a person can judge, and each pair costs one pass over the rows.
_PAIRED_BINS: Final = 24
_PAIRED_COLUMNS: Final = 60
#: Rows that a pair of bins would have if the columns were independent, to be called common apart.
#: By chance such a pair is absent once in e^20 times.
_EXPECTED: Final = 20
#: Pairs that are kept: those expected most often.
_PAIRS: Final = 500

Floats = NDArray[np.float64]
Counts = NDArray[np.intp]
Bins = NDArray[np.int32]
Pair = tuple[int, int, int, int]


def build(
    schema: Schema,
    columns: Columns,
    seen: NDArray[np.bool_],
    intervals: Mapping[str, Sequence[float]],
) -> Profile:
    """Describe the training rows of all groups.

    Args:
        columns: the cleaned table.
        seen: bool (n,), the training rows among its n; at least one.
        intervals: group to the half-widths for 1 to 99 %, empty if it has none.
    """
    matrix = columns.matrix(seen)
    profiles, bins = [], []
    for place, (feature, name) in enumerate(
        zip(schema.matrix_features, schema.matrix_columns, strict=True)
    ):
        values, coded = matrix[:, place].astype(np.float64), schema.coded[place]
        edges = _code_edges(feature) if coded else _edges(values)
        bins.append(np.searchsorted(edges, values, side="right").astype(np.int32))
        profiles.append(
            ColumnProfile(
                name=name,
                feature=feature.name,
                edges=edges.tolist(),
                counts=np.bincount(bins[-1], minlength=len(edges) + 1).tolist(),
                low=float(values.min()),
                high=float(values.max()),
                coded=coded,
            )
        )
    return Profile(
        rows=len(matrix),
        columns=profiles,
        never_together=_never_together(profiles, bins),
        intervals={group: list(widths) for group, widths in intervals.items() if len(widths)},
    )


def _code_edges(feature: Feature) -> Floats:
    """Return the edges around -2 (other), -1 (blank) and the code of each category."""
    codes = 2 if feature.type is FeatureType.BOOLEAN else len(feature.categories)
    return np.arange(-1.5, codes - 1)


def _edges(values: Floats) -> Floats:
    """Return 0.5 for flags, the middles between few values, else the distinct inner deciles."""
    distinct = np.unique(values)
    if set(distinct.tolist()) <= {0.0, 1.0}:
        return np.array([0.5])
    if len(distinct) <= _DISTINCT:
        return (distinct[:-1] + distinct[1:]) / 2
    deciles = np.unique(np.quantile(values, np.arange(0.1, 0.95, 0.1)))
    inner: Floats = deciles[deciles > distinct[0]]  # nothing lies below the smallest value
    return inner


def _never_together(profiles: Sequence[ColumnProfile], bins: Sequence[Bins]) -> list[Pair]:
    """Return the pairs of bins that are common apart and never occur in one row.

    Columns of one feature depend on each other by their making, and are not paired.
    """
    few = [i for i, column in enumerate(profiles) if len(column.counts) <= _PAIRED_BINS]
    found: list[tuple[float, Pair]] = []
    for a, b in combinations(few[:_PAIRED_COLUMNS], 2):
        if profiles[a].feature != profiles[b].feature:
            counts = np.array(profiles[a].counts), np.array(profiles[b].counts)
            found += [
                (expected, (a, bin_a, b, bin_b))
                for expected, bin_a, bin_b in _absent(*counts, bins[a], bins[b])
            ]
    found.sort(key=lambda pair: (-pair[0], pair[1]))
    return [pair for _, pair in found[:_PAIRS]]


def _absent(
    count_a: Counts, count_b: Counts, bins_a: Bins, bins_b: Bins
) -> Iterator[tuple[float, int, int]]:
    """Yield (expected rows, bin a, bin b) of common bins without a row of both."""
    expected = np.outer(count_a, count_b) / len(bins_a)
    if expected.max() < _EXPECTED:
        return
    together = np.bincount(bins_a * len(count_b) + bins_b, minlength=expected.size)
    absent = (expected >= _EXPECTED) & (together.reshape(expected.shape) == 0)
    for bin_a, bin_b in np.argwhere(absent).tolist():
        yield float(expected[bin_a, bin_b]), bin_a, bin_b
