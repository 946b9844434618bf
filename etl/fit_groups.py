"""Fits a model per group of a cleaned table, and writes its files to the version in the making."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aimq.errors import Invalid
from aimq.schema import Schema, Task
from etl.clean import Cleaned
from etl.evaluate import ClassScores, Scores, baseline, baseline_classes, score, score_classes
from etl.fit import Fitted, Plan, fit
from etl.publish import Staging
from etl.report import GroupReport

#: Fewest clean rows of a group that are worth a model.
MIN_ROWS: Final = 20
#: Matrix cells below which one thread is faster than several that wait for each other.
ONE_THREAD: Final = 100_000


@dataclass(frozen=True, slots=True)
class FittedGroups:
    """What came of all groups.

    Attributes:
        fitted: by group.
        reports: by group.
        seen: bool (n,), the rows of the cleaned table that were trained on.
    """

    fitted: dict[str, Fitted]
    reports: dict[str, GroupReport]
    seen: NDArray[np.bool_]


def check_rows(cleaned: Cleaned) -> None:
    """Raise `Invalid` if a group has too few clean rows; names each and what became of the rows."""
    schema = cleaned.columns.schema
    counts = np.bincount(cleaned.columns.groups, minlength=len(schema.groups))
    short = [
        f"{group} has {count}"
        for group, count in zip(schema.groups, counts, strict=True)
        if count < MIN_ROWS
    ]
    if short:
        reasons = "; ".join(f"{n} {reason}" for reason, n in cleaned.account.dropped.most_common())
        what = f"Each {schema.group}" if schema.group is not None else "The table"
        raise Invalid(
            f"{what} needs {MIN_ROWS} clean rows to learn from: {', '.join(short)}. "
            f"Rows dropped: {reasons or 'none'}."
        )


def fit_groups(
    cleaned: Cleaned,
    plan: Plan,
    staging: Staging,
    progress: Callable[[str, str, float], None],
) -> FittedGroups:
    """Fit every group, and stage ``<group>.onnx`` and ``<group>.pkl``.

    Args:
        plan: of all groups; its budget is shared among them by their rows.
        progress: called with the group, the candidate at work and the share done, up to 1.

    Raises:
        Invalid: a group has too few rows of a class.
        ModelRefused: ONNX and pickle do not answer alike.
    """
    schema = cleaned.columns.schema
    fitted: dict[str, Fitted] = {}
    reports: dict[str, GroupReport] = {}
    seen = np.zeros(len(cleaned.target), dtype=np.bool_)
    for index, group in enumerate(schema.groups):
        places = np.flatnonzero(cleaned.columns.groups == index)
        matrix = cleaned.columns.matrix(cleaned.columns.groups == index)
        target = cleaned.target[places]
        share = plan.budget * len(places) / len(cleaned.target)
        named = replace(
            plan,
            budget=share,
            group=group if schema.group is not None else "",
            jobs=plan.jobs if matrix.size > ONE_THREAD else 1,
        )
        mine = fit(matrix, target, named, partial(progress, group))
        seen[places[mine.seen]] = True
        fitted[group] = mine
        reports[group] = _report(schema, target, mine, staging, group)
    return FittedGroups(fitted, reports, seen)


def _report(
    schema: Schema, target: NDArray[np.float64], fitted: Fitted, staging: Staging, group: str
) -> GroupReport:
    seen, truth = target[fitted.seen], target[fitted.unseen]
    model: Scores | ClassScores
    trivial: Scores | ClassScores
    if schema.task is Task.CLASSIFICATION:
        model = score_classes(truth, fitted.predicted)
        trivial = baseline_classes(seen, truth, len(schema.classes))
    else:
        model, trivial = score(truth, fitted.predicted), baseline(seen, truth)
    return GroupReport(
        rows_trained=len(seen),
        rows_held_out=len(truth),
        chosen=fitted.chosen,
        model=model,
        baseline=trivial,
        compared=fitted.compared,
        coverage={str(level): share for level, share in fitted.coverage.items()},
        parity=fitted.parity,
        onnx_bytes=staging.write(f"{group}.onnx", fitted.onnx),
        pickle_bytes=staging.write(f"{group}.pkl", fitted.pickled),
    )
