"""Scores a spreadsheet: match columns, validate by column, predict in large batches, assemble.

No I/O of its own: the workbook is read and written by `aimq.workbook`, the predictions
come from a `Predictor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from aimq.errors import FieldError, MlUnavailable, WorkbookError
from aimq.ml_client.blocking import Scored
from aimq.schema import Columns, Schema, match_columns, read_columns
from aimq.workbook.sheet import Sheet

#: Longest text of the ``error`` column, in characters.
MAX_ERROR: Final = 1_000
#: Name of the column that says why a row has no prediction.
ERROR: Final = "error"
#: Times a job is begun anew because new models came into service meanwhile.
_RESTARTS: Final = 3


class Predictor(Protocol):
    """Where predictions come from (`aimq.ml_client.blocking.MlClient`)."""

    def predict_table(self, table: pa.Table) -> Scored:
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
        sheet: every row and column of the input in order, then the prediction, then ``error``.
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
) -> ScoredSheet:
    """Predict every valid row of a sheet; a wrong row gets its error and spoils no other.

    A column of the input that is named like one of ours is kept; ours come last.

    Args:
        batch_rows: rows per request.
        report: told of the progress after every batch; what it raises ends the work.

    Raises:
        WorkbookError: columns are missing.
        MlUnavailable: new models came into service again and again meanwhile.
        AimqError: what the predictor raises.
    """
    columns = read_columns(schema, _select(sheet, schema))
    errors = columns.errors.copy()
    errors[_blank_rows(sheet)] = "the row is empty"
    valid = np.flatnonzero(columns.valid)
    for _ in range(_RESTARTS):
        run = _Run(columns, valid, errors.copy())
        for progress in run.predict(predictor, batch_rows):
            report(progress)
        if run.consistent:
            return _assemble(sheet, schema, run)
    raise MlUnavailable("New models came into service while the spreadsheet was being scored.")


def _select(sheet: Sheet, schema: Schema) -> pd.DataFrame:
    places, missing = match_columns(schema, sheet.headers)
    if missing:
        found = ", ".join(repr(name[:40]) for name in sheet.headers[:30])
        raise WorkbookError(
            f"Sheet {sheet.name!r} lacks the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}. Add {'them' if len(missing) > 1 else 'it'} to the header row "
            f"(its first row with anything in it), which has: {found}.",
            errors=[FieldError(field=name, message="is missing") for name in missing],
        )
    return pd.DataFrame({name: sheet.frame[place] for name, place in places.items()})


def _blank_rows(sheet: Sheet) -> NDArray[np.bool_]:
    return np.asarray(sheet.frame.isna().all(axis=1).to_numpy(), dtype=np.bool_)


class _Run:
    """One pass over the valid rows."""

    def __init__(
        self, columns: Columns, valid: NDArray[np.intp], errors: NDArray[np.object_]
    ) -> None:
        self._columns, self._valid, self.errors = columns, valid, errors
        self.predictions = np.full(len(errors), np.nan)
        self.versions: dict[str, set[str]] = {}

    @property
    def consistent(self) -> bool:
        """Tell whether each group was predicted by one version."""
        return all(len(versions) == 1 for versions in self.versions.values())

    @property
    def rows_failed(self) -> int:
        return int(np.count_nonzero(self.errors != np.array(None)))

    def predict(self, predictor: Predictor, batch_rows: int) -> Iterator[Progress]:
        total = len(self.errors)
        done = total - len(self._valid)
        yield Progress(total, done, self.rows_failed)
        for start in range(0, len(self._valid), batch_rows):
            rows = self._valid[start : start + batch_rows]
            self._take(rows, predictor.predict_table(self._table(rows)))
            done += len(rows)
            yield Progress(total, done, self.rows_failed)

    def _table(self, rows: NDArray[np.intp]) -> pa.Table:
        chosen = np.zeros(len(self.errors), dtype=np.bool_)
        chosen[rows] = True
        return self._columns.table(chosen)

    def _take(self, rows: NDArray[np.intp], scored: Scored) -> None:
        self.predictions[rows] = scored.predictions
        self.errors[rows] = scored.errors
        groups = self._columns.groups[rows]
        for index, group in enumerate(self._columns.schema.groups):
            seen = {v for v in pd.unique(scored.versions[groups == index]) if isinstance(v, str)}
            if seen:
                self.versions.setdefault(group, set()).update(seen)


def _assemble(sheet: Sheet, schema: Schema, run: _Run) -> ScoredSheet:
    errors = pd.Series(run.errors, dtype="str").str.slice(0, MAX_ERROR)
    added: dict[str, pd.Series[Any]] = {
        schema.prediction: pd.Series(run.predictions),
        ERROR: errors,
    }
    total = len(run.errors)
    versions = {group: min(seen) for group, seen in run.versions.items()}
    return ScoredSheet(sheet.with_columns(added), Progress(total, total, run.rows_failed), versions)
