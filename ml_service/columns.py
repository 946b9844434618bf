"""Many records at once: a table in, predictions, errors and warnings by column out.

Everything here blocks: run it in a thread. pandas is imported with the first table, so that the
service starts without it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from aimq.schema import Schema
from ml_service.float_format import shortest_doubles
from ml_service.intervals import HalfWidths
from ml_service.runtimes.port import Values
from ml_service.version import Version

if TYPE_CHECKING:
    import pandas as pd

    from aimq.schema import Columns

#: Said of a row whose model answered with what is no finite number.
NOT_FINITE: Final = "the model gave no finite number for this row"


@dataclass(frozen=True, slots=True)
class TablePredictions:
    """Predictions of n rows.

    Attributes:
        columns: name to float64 (n,): the prediction, a class's probability, the interval's bounds.
            The prediction of a class is its place among the schema's, int32 (n,). Undefined where
            `errors` has a text.
        errors: object (n,), why a row has no prediction, or None.
        warnings: object (n,), what is unusual in a row, or None.
        served: runtime to the number of rows that it predicted.
    """

    columns: dict[str, NDArray[Any]]
    errors: NDArray[np.object_]
    warnings: NDArray[np.object_]
    served: Counter[str]

    @property
    def warned(self) -> int:
        """Rows with a warning."""
        return sum(text is not None for text in self.warnings.tolist())


def predict_table(
    version: Version, model_format: str, frame: pd.DataFrame, halves: HalfWidths
) -> TablePredictions:
    """Validate, encode and predict a table that has the schema's columns.

    Args:
        halves: see `half_widths`.

    Raises:
        TransientError: the runtime cannot answer now; no row is answered then.
    """
    from aimq.schema import read_columns  # noqa: PLC0415 # see above

    columns = read_columns(version.schema, frame)
    out = _empty(version.schema, columns.errors, halves)
    for index, group in enumerate(version.schema.groups):
        rows = columns.valid & (columns.groups == index)
        if not rows.any():
            continue
        group_model = version.groups(model_format).get(group)
        if group_model is None:
            out.errors[rows] = f"{version.schema.group or 'model'}: {version.not_served(group)}"
            continue
        chosen: Any = slice(None) if rows.all() else rows
        matrix = columns.matrix(chosen)
        values, served_by = group_model.predict(matrix)
        out.served[served_by] += len(values)
        for name, each in _columns(version.schema, values, halves.get(group)).items():
            out.columns[name][chosen] = each
        places = np.flatnonzero(rows)
        for row, text in version.observe(matrix, partial(_given, columns, places)).items():
            out.warnings[places[row]] = text
    for each in out.columns.values():
        out.errors[~np.isfinite(each)] = NOT_FINITE
    return out


def _empty(schema: Schema, errors: NDArray[np.object_], halves: HalfWidths) -> TablePredictions:
    nothing = np.empty((0, schema.outputs) if schema.classes else 0, np.float32)
    half = next(iter(halves.values()), None)
    columns = {
        name: np.zeros(len(errors), each.dtype)
        for name, each in _columns(schema, nothing, half).items()
    }
    return TablePredictions(columns, errors, np.full(len(errors), None, np.object_), Counter())


def _columns(schema: Schema, values: Values, half: np.float32 | None) -> dict[str, NDArray[Any]]:
    """Return the columns of an answer for a model's values, see `TablePredictions.columns`."""
    if schema.classes:
        places = values.argmax(axis=1)
        largest = np.take_along_axis(values, places[:, None], axis=1)[:, 0]
        probability = np.minimum(shortest_doubles(largest), 1.0)
        return {schema.prediction: places.astype(np.int32), "probability": probability}
    columns = {schema.prediction: shortest_doubles(values)}
    if half is not None:
        columns[f"{schema.prediction}_low"] = shortest_doubles(values - half)
        columns[f"{schema.prediction}_high"] = shortest_doubles(values + half)
    return columns


def _given(columns: Columns, places: NDArray[np.intp], field: str, row: int) -> object:
    return columns.others[field][places[row]]
