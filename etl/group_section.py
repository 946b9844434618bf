"""The part of the training report about one group: its candidates, errors and features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from aimq.schema import Schema, Task
from etl import plots
from etl.evaluate import log_losses
from etl.export import open_onnx
from etl.held_out_section import class_errors, number_errors
from etl.html_tags import Html, items, plot_figure, side_by_side, table, tag
from etl.importance import Importance, permutation_importance
from etl.readable_figures import figure

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
    show = class_errors if schema.task is Task.CLASSIFICATION else number_errors
    return tag(
        "section",
        tag("h2", heading),
        *_comparison(fitted),
        tag("h3", "On held-out rows"),
        *show(schema, fitted, truth),
        tag("h3", "What the predictions rest on"),
        *_importance(schema, fitted, matrix, truth),
    )


def _comparison(fitted: Fitted) -> list[Html]:
    """The candidates of the cross-validation, best first."""
    if not fitted.compared:
        return [tag("p", f"Model: {fitted.chosen}. It was compared with the trivial model only.")]
    compared = dict(sorted(fitted.compared.items(), key=lambda named: named[1].score))
    metric = _METRICS[compared[fitted.chosen].metric]
    remarks = [f"{name}: {each.why_not}" for name, each in compared.items() if each.why_not]
    return [
        side_by_side(
            plot_figure(
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


def _importance(schema: Schema, fitted: Fitted, matrix: Matrix, truth: Floats) -> list[Html]:
    errors = partial(_errors, open_onnx(fitted.onnx), truth)
    found = permutation_importance(schema, matrix, errors, _SEED)
    metric = "log loss" if fitted.predicted.ndim > 1 else "mean error"
    return [
        side_by_side(
            plot_figure(
                plots.importance(found, metric),
                "Importance of the columns",
                "By how much predictions of held-out rows get worse when a column's values are "
                "exchanged among the rows. Columns that say the same share their importance.",
            ),
            table("Importance of the columns", ("column", f"{metric} added", "±"), _rows(found)),
        )
    ]


def _errors(
    answer: Callable[[Matrix], Floats], truth: Floats, rows: Matrix, places: NDArray[np.intp]
) -> Floats:
    answers = answer(rows)
    if answers.ndim > 1:
        return log_losses(truth[places], answers)
    errors: Floats = np.abs(truth[places] - answers)
    return errors


def _rows(found: list[Importance]) -> list[tuple[str, str, str]]:
    return [(each.feature, figure(each.mean), figure(each.deviation)) for each in found]
