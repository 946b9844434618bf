"""Scores a spreadsheet: match columns, validate by column, predict in large batches, assemble.

No I/O of its own: `aimq.workbook` reads and writes the workbook, a `Predictor` predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from aimq.errors import MlUnavailable
from aimq.ml_client.blocking import ScoredTable
from aimq.schema import Columns, Schema, match_columns, read_columns
from aimq.schema.model import Task
from aimq.workbook.columns import check_columns
from aimq.workbook.sheet import Sheet

#: Longest text of the ``error`` and ``warning`` columns, in characters.
MAX_ERROR: Final = 1_000
#: Name of the column that says why a row has no prediction.
ERROR: Final = "error"
#: Name of the column that says what of a row is unlike the training table.
WARNING: Final = "warning"
#: Name of the column with the probability of a class.
PROBABILITY: Final = "probability"
#: Passes over the rows before a job gives way to new models that keep coming into service.
_PASSES: Final = 3


class Predictor(Protocol):
    """Where predictions come from (`aimq.ml_client.blocking.MlClient`)."""

    def predict_table(self, table: pa.Table) -> ScoredTable:
        """Score a table with the schema's columns."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a spreadsheet is: rows with a prediction or an error, and those with an error."""

    rows_total: int
    rows_done: int = 0
    rows_failed: int = 0


@dataclass(frozen=True)
class ScoredSheet:
    """A scored spreadsheet.

    Attributes:
        sheet: every row and column of the input in order, then the prediction, its probability,
            its interval, its warning (those that there are), and ``error``.
        model_versions: model group to the version that predicted its rows.
    """

    sheet: Sheet
    progress: Progress
    model_versions: Mapping[str, str] = field(default_factory=dict)


def score(
    sheet: Sheet,
    schema: Schema,
    predictor: Predictor,
    *,
    batch_rows: int,
    report: Callable[[Progress], None],
    interval: bool = False,
) -> ScoredSheet:
    """Predict every valid row of a sheet; a wrong row gets its error and spoils no other.

    A column of the input that is named like one of ours is kept; ours come last.

    Args:
        batch_rows: rows per request.
        report: told of the progress after every batch; what it raises ends the work.
        interval: the predictor gives intervals.

    Raises:
        WorkbookError: columns are missing.
        MlUnavailable: new models came into service again and again meanwhile.
        AimqError: what the predictor raises.
    """
    check_columns(sheet.headers, schema)
    places, _ = match_columns(schema, sheet.headers)
    there = {name: sheet.frame[place] for name, place in places.items()}
    frame = pd.DataFrame(there, index=sheet.frame.index)  # what may be blank may be absent
    columns = read_columns(schema, frame)
    errors = np.where(sheet.frame.isna().all(axis=1), "the row is empty", columns.errors)
    for _ in range(_PASSES):
        scored = _unscored(schema, errors.copy(), interval=interval)
        _predict(columns, scored, predictor, batch_rows, report)
        versions = _versions(columns, scored)
        if all(len(of_group) == 1 for of_group in versions.values()):
            return _assemble(sheet, schema, scored, {g: min(of) for g, of in versions.items()})
    raise MlUnavailable("New models came into service while the spreadsheet was being scored.")


def _unscored(schema: Schema, errors: NDArray[np.object_], *, interval: bool) -> ScoredTable:
    """Return n rows without a prediction; `errors` are those that are known already."""
    total = len(errors)
    classes = schema.task is Task.CLASSIFICATION
    numbers = {"low": interval, "high": interval, "probability": classes}
    return ScoredTable(
        np.full(total, None if classes else np.nan),
        errors,
        np.full(total, None),
        warnings=np.full(total, None) if schema.warn else None,
        **{name: np.full(total, np.nan) for name, wanted in numbers.items() if wanted},
    )


def _predict(
    columns: Columns,
    scored: ScoredTable,
    predictor: Predictor,
    batch_rows: int,
    report: Callable[[Progress], None],
) -> None:
    """Score the rows that have no error yet."""
    total = len(scored.errors)
    valid = np.flatnonzero([error is None for error in scored.errors.tolist()])
    done = total - len(valid)
    report(_progress(scored, done))
    for start in range(0, len(valid), batch_rows):
        rows = valid[start : start + batch_rows]
        chosen = np.zeros(total, dtype=np.bool_)
        chosen[rows] = True
        answer = predictor.predict_table(columns.table(chosen))
        for column in fields(ScoredTable):
            of_all, of_rows = getattr(scored, column.name), getattr(answer, column.name)
            if of_all is not None and of_rows is not None:
                of_all[rows] = of_rows
        done += len(rows)
        report(_progress(scored, done))


def _progress(scored: ScoredTable, done: int) -> Progress:
    failed = int(np.count_nonzero(scored.errors != np.array(None)))
    return Progress(len(scored.errors), done, failed)


def _versions(columns: Columns, scored: ScoredTable) -> dict[str, set[str]]:
    """Return the versions that predicted the rows of each model group that has predictions."""
    seen = {
        group: set(pd.unique(scored.versions[columns.groups == index])) - {None}
        for index, group in enumerate(columns.schema.groups)
    }
    return {group: versions for group, versions in seen.items() if versions}


def _assemble(
    sheet: Sheet, schema: Schema, scored: ScoredTable, versions: Mapping[str, str]
) -> ScoredSheet:
    name = schema.prediction
    numbers = {PROBABILITY: scored.probability, f"{name}_low": scored.low,
               f"{name}_high": scored.high}  # fmt: skip
    texts = {WARNING: scored.warnings, ERROR: scored.errors}
    classes = schema.task is Task.CLASSIFICATION
    added: dict[str, pd.Series[Any]] = {
        name: pd.Series(scored.predictions, dtype="str" if classes else "float64"),
        **{title: pd.Series(column) for title, column in numbers.items() if column is not None},
        **{
            title: pd.Series(column, dtype="str").str.slice(0, MAX_ERROR)
            for title, column in texts.items()
            if column is not None
        },
    }
    progress = _progress(scored, len(scored.errors))
    return ScoredSheet(sheet.with_columns(added), progress, versions)
