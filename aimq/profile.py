"""What a published version was trained on, in figures: ``profile.json`` of the version.

Warnings, drift and prediction intervals of the service are read from it; training writes it. One
`ColumnProfile` describes one column of the matrix, in the matrix's order.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from aimq.errors import ModelRefused

PROFILE: Final = "profile.json"
#: Half-widths per group: the n-th, from 1, belongs to an interval of n %.
LEVELS: Final = 99
#: Interval that may be asked for, in percent.
LEAST_INTERVAL: Final = 50
MOST_INTERVAL: Final = LEVELS


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True):
    """Distribution of one matrix column over the training rows.

    Attributes:
        name: of the matrix column.
        feature: of the schema's feature that the column belongs to.
        edges: borders of the bins, increasing: the bin of a value is ``bisect_right(edges, value)``
            (``numpy.searchsorted(edges, value, side="right")``).
        counts: training rows in each bin, one more than edges.
        low: smallest value of the training rows.
        high: largest value of the training rows.
        coded: values are codes of categories. Then the bin of a code is the code plus 2, for codes
            begin at -2.
    """

    name: str
    feature: str
    edges: list[float]
    counts: list[int]
    low: float
    high: float
    coded: bool


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Distributions of a version's training rows, all groups together.

    Attributes:
        rows: training rows.
        columns: one per matrix column.
        never_together: (column a, bin a, column b, bin b) as places in ``columns`` and their
            ``counts``: pairs that are common apart and never occur in one row; a < b.
        intervals: group to the half-widths of prediction intervals of 1 %, 2 %, … 99 %, in the
            target's unit. A group without intervals, such as one of classes, is absent.
    """

    rows: int
    columns: list[ColumnProfile]
    never_together: list[tuple[int, int, int, int]] = []
    intervals: dict[str, list[float]] = {}


def encode_profile(profile: Profile) -> bytes:
    """Return the content of ``profile.json``."""
    return msgspec.json.format(msgspec.json.encode(profile), indent=0)


def read_profile(path: Path) -> Profile:
    """Read a ``profile.json``. Raises `ModelRefused` if it cannot be read or contradicts itself."""
    try:
        profile = msgspec.json.decode(path.read_bytes(), type=Profile)
    except (OSError, msgspec.MsgspecError) as exc:
        raise ModelRefused(f"{path}: cannot be read: {exc}") from exc
    for fault in _faults(profile):
        raise ModelRefused(f"{path}: {fault}. Train the model again.")
    return profile


def _faults(profile: Profile) -> Iterator[str]:
    """Yield what cannot be true."""
    for column in profile.columns:
        if len(column.counts) != len(column.edges) + 1 or not column.low <= column.high:
            yield f"column {column.name} does not have one count more than edges, low up to high"
        if not _increasing(column.edges) or min(column.counts, default=0) < 0:
            yield f"column {column.name} has edges that do not increase, or counts below 0"
    for pair in profile.never_together:
        if not _is_place(profile, *pair[:2]) or not _is_place(profile, *pair[2:]):
            yield f"never_together names {pair}, which is no pair of bins"
    for group, widths in profile.intervals.items():
        if len(widths) != LEVELS or widths != sorted(widths) or widths[0] < 0:
            yield f"the intervals of group {group} are not {LEVELS} widths that grow"


def _increasing(edges: list[float]) -> bool:
    return all(low < high for low, high in pairwise(edges))


def _is_place(profile: Profile, column: int, bin_: int) -> bool:
    """True if there is such a bin of such a column."""
    known = 0 <= column < len(profile.columns)
    return known and 0 <= bin_ < len(profile.columns[column].counts)
