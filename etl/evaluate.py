"""How good a model is on rows it has not seen, beside predicting the median of those it has."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Scores(msgspec.Struct, frozen=True):
    """Errors of predictions.

    Attributes:
        r2: share of the variance explained; 0.0 where the truth does not vary.
        mae: mean absolute error, in the target's unit.
        mape: mean absolute error relative to the truth, over the rows where it is not 0.
    """

    r2: float
    mae: float
    mape: float


def score(truth: Floats, predicted: Floats) -> Scores:
    """Score predictions; both float64 (n,), n at least one."""
    error = truth - predicted
    spread = float(((truth - truth.mean()) ** 2).sum())
    nonzero = truth != 0
    relative = np.abs(error[nonzero] / truth[nonzero])
    return Scores(
        r2=1 - float((error**2).sum()) / spread if spread else 0.0,
        mae=float(np.abs(error).mean()),
        mape=float(relative.mean()) if len(relative) else 0.0,
    )


def baseline(train: Floats, truth: Floats) -> Scores:
    """Score predicting the training rows' median for every row."""
    return score(truth, np.full(len(truth), np.median(train)))
