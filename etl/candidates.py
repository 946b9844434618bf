"""The kinds of model that a training compares, from the simplest to the most complex.

All are plain scikit-learn estimators that take the float32 matrix as it is, so that a pickle of one
needs no class of ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from etl.plan import Plan
from etl.train import Floats, Matrix, train

TRIVIAL: Final = "trivial"
LINEAR: Final = "linear"
BOOSTING: Final = "histogram gradient boosting"
FOREST: Final = "random forest"


class Estimator(Protocol):
    """What is used of a fitted scikit-learn estimator; a classifier has ``predict_proba`` too."""

    def predict(self, matrix: Matrix) -> NDArray[np.float64]:
        """Return the answers, (n,)."""
        ...


#: Fits a candidate to a matrix and its target, and tells how far it is, up to 1.
Fit = Callable[[Matrix, Floats, Callable[[float], None]], Estimator]


def candidates(plan: Plan) -> dict[str, Fit]:
    """Return what fits each candidate, by name, the simplest first."""
    return {
        TRIVIAL: partial(_fit, _trivial, plan),
        LINEAR: partial(_fit, _linear, plan),
        BOOSTING: partial(_fit_boosting, plan),
        FOREST: partial(_fit_forest, plan),
    }


def predict(model: Estimator, matrix: Matrix) -> NDArray[np.float64]:
    """Return an estimator's answers: (n,), or probabilities (n, classes) of a classifier."""
    answer = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    with _one_thread():
        return np.asarray(answer(matrix), dtype=np.float64)


def _one_thread() -> AbstractContextManager[object]:
    """Keep scikit-learn's own threads off: on a busy machine they wait for each other.

    Measured there: two take twenty times as long as one.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - for training only

    limits: AbstractContextManager[object] = threadpool_limits(1)
    return limits


def _fit(
    build: Callable[[Plan], Any],
    plan: Plan,
    matrix: Matrix | Floats,
    target: Floats,
    told: Callable[[float], None],
) -> Estimator:
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - slow to import

    with _one_thread(), warnings.catch_warnings():
        # A model that has not converged is compared by what it predicts, as any other.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model: Estimator = build(plan).fit(
            matrix, target.astype(np.intp) if plan.classifies else target
        )
    told(1.0)
    return model


def _trivial(plan: Plan) -> Any:  # noqa: ANN401 - scikit-learn has no types
    """Return a tree that never splits: it answers the median, or the share of each class.

    Unlike scikit-learn's dummy estimators it can be exported.
    """
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: PLC0415

    never = int(np.iinfo(np.int32).max)
    if plan.classifies:
        return DecisionTreeClassifier(min_samples_split=never)
    return DecisionTreeRegressor(criterion="absolute_error", min_samples_split=never)


def _linear(plan: Plan) -> Any:  # noqa: ANN401 - see above
    """Return a linear model of scaled numbers and of one column per code.

    A code that the training rows lack, blank and other included, counts as none of them.
    """
    from sklearn.compose import ColumnTransformer  # noqa: PLC0415 - slow to import
    from sklearn.linear_model import LogisticRegression, Ridge  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: PLC0415

    coded = np.array(plan.coded)
    parts = [
        ("numbers", StandardScaler(), np.flatnonzero(~coded).tolist()),
        ("codes", OneHotEncoder(handle_unknown="ignore"), np.flatnonzero(coded).tolist()),
    ]
    encoder = ColumnTransformer([part for part in parts if part[2]])
    return make_pipeline(encoder, LogisticRegression(max_iter=200) if plan.classifies else Ridge())


def _boosting(plan: Plan) -> Any:  # noqa: ANN401 - see above
    """Return boosted trees over binned values (Ke et al. 2017, LightGBM).

    Codes count as numbers: skl2onnx exports splits by category wrongly.
    """
    from sklearn.ensemble import (  # noqa: PLC0415 - slow to import
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
    )

    kind = HistGradientBoostingClassifier if plan.classifies else HistGradientBoostingRegressor
    return kind(early_stopping=False, random_state=plan.seed)


def _fit_boosting(
    plan: Plan, matrix: Matrix, target: Floats, told: Callable[[float], None]
) -> Estimator:
    return _fit(_boosting, plan, on_grid(matrix), target, told)


def on_grid(matrix: Matrix) -> Floats:
    """Round each column to multiples of a power of two, up to 2^22 of them to either side of 0.

    The means of two such values are float32 numbers. They are the thresholds of boosted trees,
    float64 in scikit-learn and float32 in ONNX, which thus compare alike.
    """
    _, exponent = np.frexp(np.abs(matrix).max(axis=0))
    step = np.ldexp(1.0, exponent - 22)
    rounded: Floats = np.round(matrix / step) * step
    return rounded


def _fit_forest(
    plan: Plan, matrix: Matrix, target: Floats, told: Callable[[float], None]
) -> Estimator:
    rows = min(len(matrix), plan.tree_rows or len(matrix))
    forest: Estimator = train(
        matrix,
        target,
        trees=plan.trees,
        leaf=plan.leaf_rows(rows),
        seed=plan.seed,
        jobs=plan.jobs,
        progress=lambda fitted: told(fitted / plan.trees),
        classifies=plan.classifies,
        drawn=rows if rows < len(matrix) else None,
    )
    return forest
