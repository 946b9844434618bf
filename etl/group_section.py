"""The part of the training report about one group: its candidates, errors and features."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from aimq.schema import Schema, Task
from etl import plots
from etl.evaluate import log_losses
from etl.export import predict_onnx
from etl.html_tags import Html, items, table, tag
from etl.importance import Importance, permutation_importance
from etl.plots import Plot
from etl.readable_figures import figure, share

if TYPE_CHECKING:
    from etl.fit import Fitted

Matrix = NDArray[np.float32]
Floats = NDArray[np.float64]

#: Of the shuffles of permutation importance.
_SEED: Final = 0
_METRICS: Final = {"mae": "mean error", "log_loss": "log loss"}


def group_section(
    heading: str, schema: Schema, fitted: Fitted, matrix: Matrix, truth: Floats
) -> Html:
    """Return the section.

    Args:
        matrix: float32 (n, width), the held-out rows.
        truth: float64 (n,), their targets or codes of classes.
    """
    show = _classes if schema.task is Task.CLASSIFICATION else _numbers
    return tag(
        "section",
        tag("h2", heading),
        *_comparison(fitted),
        tag("h3", "On held-out rows"),
        *show(schema, fitted, truth),
        tag("h3", "What the predictions rest on"),
        *_importance(schema, fitted, matrix, truth),
    )


def _figure(plot: Plot, title: str, words: str) -> Html:
    caption = tag("figcaption", tag("strong", title), words)
    return tag("figure", tag("img", src=plot.source, alt=plot.alt), caption)


def _plots(*figures: Html) -> Html:
    return tag("div", *figures, class_="plots")


def _comparison(fitted: Fitted) -> list[Html]:
    """The candidates of the cross-validation, best first."""
    if not fitted.compared:
        return [tag("p", f"Model: {fitted.chosen}. It was compared with the trivial model only.")]
    compared = dict(sorted(fitted.compared.items(), key=lambda named: named[1].score))
    metric = _METRICS[compared[fitted.chosen].metric]
    remarks = [f"{name}: {each.why_not}" for name, each in compared.items() if each.why_not]
    return [
        _plots(
            _figure(
                plots.comparison(compared, fitted.chosen, metric),
                "Candidates",
                "Each bar is the mean over the training rows, each predicted by a model that had "
                "not seen it; the line is its standard error.",
            ),
            table(
                "Candidates in cross-validation on the training rows",
                ("candidate", metric, "standard error"),
                [
                    (_named(name, fitted.chosen), figure(each.score), f"± {figure(each.error)}")
                    for name, each in compared.items()
                ],
            ),
        ),
        items(remarks) if remarks else Html(),
    ]


def _named(name: str, chosen: str) -> str:
    return f"{name} (published)" if name == chosen else name


def _numbers(schema: Schema, fitted: Fitted, truth: Floats) -> list[Html]:
    found = fitted.predicted
    return [
        _plots(
            _figure(
                plots.predicted_against_actual(truth, found, schema.target),
                "Predicted and actual",
                "Each point is a held-out row. On the line the prediction is exact.",
            ),
            _figure(
                plots.residuals(truth, found),
                "Errors by prediction",
                "A slope or a funnel shows where the model is biased or less certain.",
            ),
            _figure(
                plots.residual_histogram(truth, found),
                "How large the errors are",
                "Right of 0 the actual value was higher than predicted. "
                "The largest 2 % of the errors are not shown.",
            ),
            *([_coverage_plot(fitted.coverage), _intervals(fitted)] if fitted.coverage else []),
        ),
    ]


def _coverage_plot(coverage: Mapping[int, float]) -> Html:
    return _figure(
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


def _classes(schema: Schema, fitted: Fitted, truth: Floats) -> list[Html]:
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
        _plots(
            _figure(
                plots.confusion(codes, answered, schema.classes),
                "Confusion matrix",
                "Held-out rows by their class and the class answered; the darker, the larger the "
                "share of the row's class.",
            ),
            _figure(
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


def _importance(schema: Schema, fitted: Fitted, matrix: Matrix, truth: Floats) -> list[Html]:
    errors = partial(_errors, fitted, truth)
    found = permutation_importance(schema, matrix, errors, _SEED)
    metric = "log loss" if fitted.predicted.ndim > 1 else "mean error"
    return [
        _plots(
            _figure(
                plots.importance(found, metric),
                "Importance of the columns",
                "By how much predictions of held-out rows get worse when a column's values are "
                "exchanged among the rows. Columns that say the same share their importance.",
            ),
            table("Importance of the columns", ("column", f"{metric} added", "±"), _rows(found)),
        )
    ]


def _errors(fitted: Fitted, truth: Floats, rows: Matrix, places: NDArray[np.intp]) -> Floats:
    answers = predict_onnx(fitted.onnx, rows)
    if answers.ndim > 1:
        return log_losses(truth[places], answers)
    errors: Floats = np.abs(truth[places] - answers)
    return errors


def _rows(found: list[Importance]) -> list[tuple[str, str, str]]:
    return [(each.feature, figure(each.mean), figure(each.deviation)) for each in found]
