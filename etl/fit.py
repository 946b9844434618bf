"""Fitting one group: hold out, compare, fit the best on all training rows, export, check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from aimq.errors import Invalid, ModelRefused
from etl.candidates import FOREST, Estimator, candidates
from etl.compare import Compared, compare, left_out_losses, rank
from etl.export import Exported, export
from etl.intervals import coverage, crossed, half_widths
from etl.plan import Plan
from etl.resample import IntArray, deal, sample
from etl.train import Floats, Matrix, split

__all__ = ["Compared", "Fitted", "Plan", "fit"]

#: Fewest rows of a class: two are trained on, so that a fold leaves one, and one is held out.
MIN_CLASS_ROWS: Final = 3
#: Shares of the progress at which the comparison ends and the intervals begin.
_COMPARISON: Final = 0.8
_CALIBRATION: Final = 0.9
#: Folds that intervals come from: the more, the closer their models are to the published one.
_FOLDS: Final = 10
#: Held-out rows that intervals come from instead, if there are so many.
_ENOUGH: Final = 1_000

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What came of one group.

    Attributes:
        chosen: name of the candidate that is to be published.
        compared: figures of every candidate by name; empty where none were compared.
        model: fitted scikit-learn estimator.
        seen: places of the training rows.
        unseen: places of the held-out rows.
        predicted: answers of the ONNX file for the held-out rows: (n_unseen,), or probabilities
            (n_unseen, classes).
        intervals: half-widths of prediction intervals of 1 % to 99 %, in the target's unit; empty
            for classes.
        coverage: share of the held-out rows inside the interval of 50, 80, 90 and 95 %.
        onnx: file content, float32 (n, columns) to float32 (n, 1) or (n, classes).
        pickled: the estimator, pickled.
        parity: largest difference between ONNX and estimator, see `etl.export.check_parity`.
    """

    chosen: str
    compared: dict[str, Compared]
    model: Estimator
    seen: IntArray
    unseen: IntArray
    predicted: FloatArray
    intervals: list[float]
    coverage: dict[int, float]
    onnx: bytes
    pickled: bytes
    parity: float


def fit(
    matrix: Matrix, target: Floats, plan: Plan, progress: Callable[[str, float], None]
) -> Fitted:
    """Fit a group's rows by a plan.

    Args:
        matrix: float32 (n, columns), no NaN; n at least 2.
        target: float64 (n,); for a classification the class's code.
        progress: called with the name of the candidate at work and the share done, up to 1.

    Raises:
        Invalid: a class has fewer than `MIN_CLASS_ROWS` rows.
        ModelRefused: no candidate answers in ONNX as it does in scikit-learn.
    """
    seen, unseen = _split(target, plan)
    rows, truth = matrix[seen], target[seen]
    compared, told = {}, progress
    if plan.compare:
        compared = compare(rows, truth, plan, partial(_scaled, progress, 0, _COMPARISON))
        told = partial(_scaled, progress, _COMPARISON, _CALIBRATION)
    name, model, exported = _publishable(rows, truth, matrix[unseen], plan, compared, told)
    intervals: list[float] = []
    covered: dict[int, float] = {}
    if not plan.classifies:
        errors = np.abs(target[unseen] - exported.predicted)
        intervals, covered = _intervals(rows, truth, errors, plan, name)
    if plan.compare:
        progress(name, 1.0)
    return Fitted(
        chosen=name,
        compared=_with_reasons(compared, name),
        model=model,
        seen=seen,
        unseen=unseen,
        predicted=exported.predicted,
        intervals=intervals,
        coverage=covered,
        onnx=exported.onnx,
        pickled=exported.pickled,
        parity=exported.parity,
    )


def _scaled(
    progress: Callable[[str, float], None], start: float, end: float, name: str, share: float
) -> None:
    """Tell the progress of a part that runs from ``start`` to ``end`` of the whole."""
    progress(name, start + share * (end - start))


def _publishable(
    rows: Matrix,
    target: Floats,
    held_out: Matrix,
    plan: Plan,
    compared: dict[str, Compared],
    progress: Callable[[str, float], None],
) -> tuple[str, Estimator, Exported]:
    """Fit the best candidate that can be exported on all training rows.

    Others that were tried get their ``why_not``. Without a comparison it is the forest.
    """
    for name in rank(compared) if compared else [FOREST]:
        model = candidates(plan)[name](rows, target, partial(progress, name))
        try:
            return name, model, export(model, held_out, name.split()[-1])
        except ModelRefused as exc:
            if not compared:
                raise
            compared[name] = msgspec.structs.replace(compared[name], why_not=exc.detail)
    raise ModelRefused(f"{plan.where}No model answers in ONNX as it does in scikit-learn.")


def _split(target: Floats, plan: Plan) -> tuple[IntArray, IntArray]:
    """Hold rows out; of classes the same share each.

    Raises:
        Invalid: a class has too few rows for that.
    """
    if not plan.classifies:
        return split(len(target), plan.held_out, plan.seed)
    labels = target.astype(np.intp)
    counts = np.bincount(labels, minlength=len(plan.classes))
    few = [
        f"{name!r} has {count}"
        for name, count in zip(plan.classes, counts, strict=True)
        if count < MIN_CLASS_ROWS
    ]
    if few:
        raise Invalid(
            f"{plan.where}Each class needs {MIN_CLASS_ROWS} clean rows to learn from: "
            f"{', '.join(few)}. Add rows of it, or leave it out."
        )
    seen = sample(labels, 1 - plan.held_out, plan.seed)
    return seen, np.setdiff1d(np.arange(len(labels)), seen)


def _intervals(
    rows: Matrix, target: Floats, held_out: Floats, plan: Plan, name: str
) -> tuple[list[float], dict[int, float]]:
    """Return half-widths of prediction intervals, and their measured coverage.

    They come from the held-out rows (split conformal) if there are enough, or if nothing is
    compared, which would take as long. Otherwise they come from the rows that each fold leaves out.

    Args:
        rows: training rows.
        held_out: absolute errors on the held-out rows.
    """
    if not plan.compare or len(held_out) >= _ENOUGH:
        return half_widths(held_out), crossed(held_out)
    labels = np.zeros(len(target), dtype=np.intp)
    folds = deal(labels, min(_FOLDS, len(target)), plan.seed)
    fit_one = candidates(plan)[name]
    widths = half_widths(left_out_losses(fit_one, rows, target, folds, plan))
    return widths, coverage(held_out, widths)


def _with_reasons(compared: dict[str, Compared], chosen: str) -> dict[str, Compared]:
    """Say of each better score why it was not chosen."""
    reason = "not better than the linear model, which is simpler, by more than its standard error"
    return {
        name: msgspec.structs.replace(figures, why_not=reason)
        if figures.score < compared[chosen].score and not figures.why_not
        else figures
        for name, figures in compared.items()
    }
