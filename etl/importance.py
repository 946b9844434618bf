"""How much each feature matters: permutation importance on rows that the model has not seen.

Breiman, "Random forests" (2001), section 10; for any model, Fisher, Rudin and Dominici, "All models
are wrong, but many are useful" (2019).
"""

from __future__ import annotations

from collections.abc import Callable
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
    asked, start = [matrix[places]], 0
    for feature in schema.features:
        stop = start + len(feature.matrix_columns)
        for _ in range(_REPEATS):
            rows = matrix[places]
            rows[:, start:stop] = rows[random.permutation(len(rows)), start:stop]
            asked.append(rows)
        start = stop
    means = errors(np.concatenate(asked), np.tile(places, len(asked))).reshape(len(asked), -1)
    usual, *shuffled = means.mean(axis=1)
    added = (np.array(shuffled) - usual).reshape(len(schema.features), _REPEATS)
    found = [
        Importance(feature.name, float(each.mean()), float(each.std()))
        for feature, each in zip(schema.features, added, strict=True)
    ]
    return sorted(found, key=lambda each: -each.mean)
