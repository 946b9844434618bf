"""The part of the training report about one group's held-out rows: the answers and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aimq.schema import Schema
from etl import plots
from etl.html_tags import Html, plot_figure, side_by_side, table
from etl.readable_figures import figure, share

if TYPE_CHECKING:
    from etl.fit import Fitted

Floats = NDArray[np.float64]


def number_errors(schema: Schema, fitted: Fitted, truth: Floats) -> list[Html]:
    """Show predicted numbers beside the truth, float64 (n,), and how far intervals hold."""
    found = fitted.predicted
    return [
        side_by_side(
            plot_figure(
                plots.predicted_against_actual(truth, found, schema.target),
                "Predicted and actual",
                "Each point is a held-out row. On the line the prediction is exact.",
            ),
            plot_figure(
                plots.residuals(truth, found),
                "Errors by prediction",
                "A slope or a funnel shows where the model is biased or less certain.",
            ),
            plot_figure(
                plots.residual_histogram(truth, found),
                "How large the errors are",
                "Right of 0 the actual value was higher than predicted. "
                "The largest 2 % of the errors are not shown.",
            ),
            *([_coverage_plot(fitted.coverage), _intervals(fitted)] if fitted.coverage else []),
        ),
    ]


def _coverage_plot(coverage: Mapping[int, float]) -> Html:
    return plot_figure(
        plots.coverage(coverage),
        "Prediction intervals",
        "Share of the held-out rows whose actual value lay within the interval. On the line "
        "intervals hold what they promise.",
    )


def _intervals(fitted: Fitted) -> Html:
    rows = [
        (f"{level} %", share(measured), figure(fitted.intervals[level - 1]))
        for level, measured in sorted(fitted.coverage.items())
    ]
    return table(
        "Prediction intervals", ("asked for", "held-out rows within", "prediction ±"), rows
    )


def class_errors(schema: Schema, fitted: Fitted, truth: Floats) -> list[Html]:
    """Show which classes are mistaken for which, and what probabilities are worth.

    Args:
        truth: codes of the classes, float64 (n,).
    """
    codes, answered = truth.astype(np.intp), fitted.predicted.argmax(axis=1)
    probability = fitted.predicted[np.arange(len(codes)), answered]
    rows = []
    for code, name in enumerate(schema.classes):
        actual, said = codes == code, answered == code
        right = int((actual & said).sum())
        found = share(right / actual.sum()) if actual.any() else "-"
        trusted = share(right / said.sum()) if said.any() else "-"
        rows.append((name, f"{actual.sum():,}", found, trusted))
    return [
        side_by_side(
            plot_figure(
                plots.confusion(codes, answered, schema.classes),
                "Confusion matrix",
                "Held-out rows by their class and the class answered; the darker, the larger the "
                "share of the row's class.",
            ),
            plot_figure(
                plots.calibration(probability, codes == answered),
                "Calibration",
                "On the line an answer of 80 % is right four times in five. Vertical lines are "
                "standard errors.",
            ),
        ),
        table(
            "Held-out rows by class",
            ("class", "rows", "found (recall)", "right when answered (precision)"),
            rows,
        ),
    ]
