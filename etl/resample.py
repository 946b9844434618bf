"""Which rows are sampled, and which are predicted together in a cross-validation.

Both go by label, so that each class keeps its share; for a regression all labels are 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.intp]


def sample(labels: IntArray, share: float, seed: int) -> IntArray:
    """Return the places of a share of the rows of each label, in order; seeded.

    Of each label at least two rows are taken and one is left, if it has three.
    """
    chosen = []
    order = np.random.default_rng(seed).permutation(len(labels))
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        size = min(max(2, round(len(rows) * share)), max(1, len(rows) - 1))
        chosen.append(rows[:size])
    return np.sort(np.concatenate(chosen))


def deal(labels: IntArray, folds: int, seed: int) -> IntArray:
    """Return the fold of each row, 0 to ``folds - 1``, dealt in turn to the rows of each label.

    Fold sizes differ by one at most, and rows of one label lie in different folds as far as they
    go: a label of two rows is in the training part of every fold.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.intp)
    fold[order] = np.arange(len(labels)) % folds
    return fold
