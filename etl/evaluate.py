"""How good a model is on rows it has not seen, beside a trivial model."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Smallest probability that a log loss counts, so that one sure and wrong answer is not infinite.
LEAST: Final = float(np.finfo(np.float32).eps)


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


class ClassScores(msgspec.Struct, frozen=True):
    """How good probabilities of classes are.

    Attributes:
        accuracy: share of the rows whose most probable class is the true one.
        log_loss: mean of minus the logarithm of the true class's probability.
        roc_auc: of two classes: chance that a row of the second class has the higher probability
            of it than a row of the first (Hanley and McNeil 1982). None for more classes, or where
            the rows have one class only.
    """

    accuracy: float
    log_loss: float
    roc_auc: float | None = None


def score_classes(truth: Floats, predicted: Floats) -> ClassScores:
    """Score probabilities.

    Args:
        truth: codes of the classes, float64 (n,), n at least one.
        predicted: probabilities, float64 (n, classes).
    """
    return ClassScores(
        accuracy=float((predicted.argmax(axis=1) == truth).mean()),
        log_loss=float(log_losses(truth, predicted).mean()),
        roc_auc=_roc_auc(truth == 1, predicted[:, 1]) if predicted.shape[1] == 2 else None,  # noqa: PLR2004 - two classes
    )


def baseline_classes(train: Floats, truth: Floats, classes: int) -> ClassScores:
    """Score predicting the training rows' share of each class for every row."""
    shares = np.bincount(train.astype(np.intp), minlength=classes) / len(train)
    return score_classes(truth, np.tile(shares, (len(truth), 1)))


def log_losses(truth: Floats, predicted: Floats) -> Floats:
    """Return minus the logarithm of the true class's probability of each row, float64 (n,)."""
    true = predicted[np.arange(len(truth)), truth.astype(np.intp)]
    losses: Floats = -np.log(np.clip(true, LEAST, 1.0))
    return losses


def _roc_auc(positive: NDArray[np.bool_], probability: Floats) -> float | None:
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - slow to import

    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, probability))
