"""Cross-validation of the candidates, and the choice among them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from etl.candidates import LINEAR, TRIVIAL, Fit, candidates, predict
from etl.evaluate import log_losses
from etl.plan import Plan
from etl.resample import IntArray, deal, sample
from etl.train import Floats, Matrix

FOLDS: Final = 5


class Compared(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the cross-validation says of one candidate.

    Attributes:
        score: mean loss of the rows that each fold left out; lower is better.
        error: standard error of that mean.
        metric: ``mae``, in the target's unit, or ``log_loss``.
        seconds: that the cross-validation took.
        why_not: why another one was published in spite of a worse score; empty otherwise.
    """

    score: float
    error: float
    metric: str
    seconds: float
    why_not: str = ""


def compare(
    matrix: Matrix, target: Floats, plan: Plan, progress: Callable[[str, float], None]
) -> dict[str, Compared]:
    """Cross-validate every candidate on the training rows, or on as many as the budget allows.

    Args:
        matrix: float32 (n, columns), training rows only.
        target: float64 (n,).
        progress: called with a candidate's name and the share of the comparison that is done.
    """
    labels = target.astype(np.intp) if plan.classifies else np.zeros(len(target), dtype=np.intp)
    if len(target) > plan.compared_rows:
        rows = sample(labels, plan.compared_rows / len(target), plan.seed)
        matrix, target, labels = matrix[rows], target[rows], labels[rows]
    folds = deal(labels, min(FOLDS, len(target)), plan.seed)
    compared: dict[str, Compared] = {}
    every = candidates(plan)
    for place, (name, fit) in enumerate(every.items()):
        started = time.monotonic()
        progress(name, place / len(every))
        losses = left_out_losses(fit, matrix, target, folds, plan)
        compared[name] = Compared(
            score=float(losses.mean()),
            error=float(losses.std(ddof=1) / math.sqrt(len(losses))),
            metric="log_loss" if plan.classifies else "mae",
            seconds=round(time.monotonic() - started, 3),
        )
    return compared


def left_out_losses(
    fit: Fit, matrix: Matrix, target: Floats, folds: IntArray, plan: Plan
) -> Floats:
    """Return each row's loss by a model that was fitted to the rows of the other folds.

    A loss is an absolute error, or the log loss of a class.

    Args:
        folds: fold of each row, from 0.
    """
    losses = np.empty(len(target))
    for fold in range(folds.max() + 1):
        out = folds == fold
        predicted = predict(fit(matrix[~out], target[~out], _untold), matrix[out])
        truth = target[out]
        losses[out] = log_losses(truth, predicted) if plan.classifies else abs(truth - predicted)
    return losses


def _untold(_share: float) -> None:
    """Tell nobody how far a fold is."""


def rank(compared: dict[str, Compared]) -> list[str]:
    """Return the candidates' names in the order in which they are to be published if they can be.

    The lowest mean loss comes first, and of equal ones the simpler candidate. Trees that do not
    beat the linear model by more than their standard error come after all others (the rule of one
    standard error: Breiman, Friedman, Olshen and Stone 1984, section 3.4.3). A loss that is no
    finite number counts as infinite.

    Args:
        compared: by name, the simplest first.
    """
    losses = {
        name: one.score if math.isfinite(one.score) else math.inf for name, one in compared.items()
    }

    def late(name: str) -> bool:
        return name not in {TRIVIAL, LINEAR} and not (
            losses[name] + compared[name].error < losses[LINEAR]
        )

    return sorted(compared, key=lambda name: (late(name), losses[name]))
