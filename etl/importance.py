"""How much each feature matters: permutation importance on rows that the model has not seen.

Breiman, "Random forests" (2001), section 10; for any model, Fisher, Rudin and Dominici, "All models
are wrong, but many are useful" (2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimq.schema import Schema

#: Times that each feature is shuffled.
_REPEATS: Final = 5
#: Rows that are predicted at most, all shuffles together, unless there are over 200 features; the
#: sample of rows shrinks to fit.
_PREDICTED: Final = 30_000
_FEWEST: Final = 100
_MOST: Final = 2_000
#: Cells of the matrix that are predicted at once, 80 MB.
_CELLS: Final = 20_000_000

Matrix = NDArray[np.float32]
Floats = NDArray[np.float64]


class Importance(NamedTuple):
    """What shuffling a feature adds to the mean error: mean and deviation of the shuffles."""

    feature: str
    mean: float
    deviation: float


def permutation_importance(
    schema: Schema, matrix: Matrix, errors: Callable[[Matrix, NDArray[np.intp]], Floats], seed: int
) -> list[Importance]:
    """Return every feature's importance, the largest first.

    The matrix columns of one feature, such as the parts of a date, are shuffled together.

    Args:
        matrix: float32 (n, width), held-out rows.
        errors: gets many rows at once, shuffled ones among them, and for each the place in
            ``matrix`` of its truth; returns the error of each prediction, float64.
    """
    random = np.random.default_rng(seed)
    size = _PREDICTED // (_REPEATS * len(schema.features))
    places = random.permutation(len(matrix))[: min(max(size, _FEWEST), _MOST)]
    rows = matrix[places]
    usual = errors(rows, places).mean()
    spans = list(_spans(schema))
    at_once = max(1, _CELLS // (_REPEATS * rows.size))
    found = []
    for start in range(0, len(spans), at_once):
        chosen = spans[start : start + at_once]
        shuffled = [_shuffled(rows, span, random) for span in chosen for _ in range(_REPEATS)]
        losses = errors(np.concatenate(shuffled), np.tile(places, len(shuffled)))
        found += list(losses.reshape(len(chosen), _REPEATS, -1).mean(axis=2) - usual)
    named = [
        Importance(feature.name, float(added.mean()), float(added.std()))
        for feature, added in zip(schema.features, found, strict=True)
    ]
    return sorted(named, key=lambda each: -each.mean)


def _spans(schema: Schema) -> Iterator[slice]:
    """Yield each feature's columns of the matrix."""
    start = 0
    for feature in schema.features:
        stop = start + len(feature.matrix_columns)
        yield slice(start, stop)
        start = stop


def _shuffled(rows: Matrix, span: slice, random: np.random.Generator) -> Matrix:
    changed = rows.copy()
    changed[:, span] = rows[random.permutation(len(rows)), span]
    return changed
