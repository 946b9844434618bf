"""Training one random forest, and splitting off what it must not see."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

Matrix = NDArray[np.float32]
Floats = NDArray[np.float64]


def split(rows: int, held_out: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the places of training and held-out rows, both at least one; seeded, disjoint."""
    order = np.random.default_rng(seed).permutation(rows)
    size = min(max(1, round(rows * held_out)), rows - 1)
    return np.sort(order[size:]), np.sort(order[:size])


def train(
    matrix: Matrix,
    target: Floats,
    *,
    trees: int,
    leaf: int,
    seed: int,
    jobs: int,
    progress: Callable[[int], None],
    classifies: bool = False,
    drawn: int | None = None,
) -> RandomForestRegressor | RandomForestClassifier:
    """Fit a forest, a few trees at a time so that progress can be told.

    The forest is the same as one fitted in one go: scikit-learn draws on from where the seed stood.
    Its thresholds are float32 afterwards (`_narrow`), and it predicts on one thread.

    Args:
        matrix: float32 (n, features).
        target: float64 (n,); codes of classes for a classifier.
        leaf: fewest training rows in a leaf.
        jobs: threads.
        progress: called with the number of trees fitted so far.
        classifies: fit a classifier.
        drawn: rows that each tree draws (with replacement); None: n.
    """
    from sklearn.ensemble import (  # noqa: PLC0415 - slow to import
        RandomForestClassifier,
        RandomForestRegressor,
    )

    forest = (RandomForestClassifier if classifies else RandomForestRegressor)(
        n_estimators=0,
        random_state=seed,
        min_samples_leaf=leaf,
        max_samples=drawn,
        n_jobs=jobs,
        warm_start=True,
    )
    if classifies:
        target = target.astype(np.intp)
    step = max(jobs, trees // 20)
    for fitted in [*range(step, trees, step), trees]:
        forest.set_params(n_estimators=fitted)
        forest.fit(matrix, target)
        progress(fitted)
    forest.set_params(warm_start=False, n_jobs=None)
    for estimator in forest.estimators_:
        _narrow(estimator.tree_)
    return forest


def _narrow(tree: Any) -> None:  # noqa: ANN401 - scikit-learn's trees have no types
    """Round a tree's thresholds down to float32, in place.

    scikit-learn compares float32 features with float64 thresholds, ONNX with float32 ones. For a
    float32 x, ``x <= t`` and ``x <= down(t)`` are the same, so no row changes its leaf, and both
    runtimes walk the same way.
    """
    exact = tree.threshold
    narrow = exact.astype(np.float32)
    above = narrow.astype(np.float64) > exact
    narrow[above] = np.nextafter(narrow[above], np.float32(-np.inf))
    exact[:] = narrow
