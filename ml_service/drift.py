"""Drift: the rows that a version was asked about lately, compared with those it was trained on."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

import msgspec
import numpy as np

from aimq.profile import ColumnProfile, Profile
from ml_service.psi import Verdict, by_chance, index_of, verdict_on
from ml_service.runtimes.port import Matrix

#: Rows that are kept.
ROWS: Final = 10_000
#: Up to so many rows are kept one by one, without a lock: they may come from the event loop.
FEW: Final = 64


class FeatureDrift(msgspec.Struct, frozen=True):
    """The index of a feature: the largest of its matrix columns."""

    name: str
    psi: float
    verdict: Verdict


class Measured(msgspec.Struct, frozen=True):
    """What a measurement found; no features without rows."""

    rows: int = 0
    features: tuple[FeatureDrift, ...] = ()


class Drift:
    """Keeps the last rows of a version, and measures their drift when asked. Thread-safe.

    A single row costs an append. It is copied to a ring of fixed size when a table comes, or when
    the drift is measured.

    Args:
        profile: of the training rows.
        most: rows that are kept.
    """

    def __init__(self, profile: Profile, most: int = ROWS) -> None:
        self._profile = profile
        self._most = most
        self._single: deque[Matrix] = deque(maxlen=most)
        #: Keeps one row of the matrix, float32 (1, columns), which nobody changes.
        self.add_one = self._single.append
        self._ring = np.empty((most, len(profile.columns)), np.float32)
        self._added = 0
        self._lock = threading.Lock()
        self._measured, self._measured_at = Measured(), 0

    def add(self, matrix: Matrix) -> None:
        """Keep rows of the matrix, float32 (n, columns). More than `FEW` may block."""
        if len(matrix) <= FEW:
            self._single.extend(matrix[n : n + 1] for n in range(len(matrix)))
            return
        with self._lock:
            self._fold()
            self._put(matrix)

    @property
    def latest(self) -> Measured:
        """The result of the last `measure`."""
        return self._measured

    def measure(self) -> Measured:
        """Return the drift of the rows kept. Blocks for milliseconds if there are new ones."""
        with self._lock:
            self._fold()
            if self._added == self._measured_at:
                return self._measured
            added, rows = self._added, self._ring[: self._added].copy()
        measured = _measured(self._profile, rows)
        with self._lock:
            self._measured, self._measured_at = measured, added
        return measured

    def _fold(self) -> None:
        """Copy the single rows to the ring."""
        rows = [self._single.popleft() for _ in range(len(self._single))]
        if rows:
            self._put(np.concatenate(rows))

    def _put(self, rows: Matrix) -> None:
        last = rows[-self._most :]
        places = np.arange(self._added, self._added + len(last)) % self._most
        self._ring[places] = last
        self._added += len(last)


def _measured(profile: Profile, rows: Matrix) -> Measured:
    found: dict[str, FeatureDrift] = {}
    for column, values in zip(profile.columns, rows.T, strict=True):
        drift = _column_drift(column, values)
        if column.feature not in found or drift.psi > found[column.feature].psi:
            found[column.feature] = drift
    return Measured(len(rows), tuple(found.values()))


def _column_drift(column: ColumnProfile, values: Matrix) -> FeatureDrift:
    bins = np.searchsorted(column.edges, values, side="right")
    actual = np.bincount(bins, minlength=len(column.counts))
    expected = np.array(column.counts, np.int64)
    index = index_of(expected, actual)
    verdict = verdict_on(index, by_chance(expected, actual))
    return FeatureDrift(column.feature, round(index, 4), verdict)
