"""Predictions for JSON records: one, or a list in which each has its own error."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np

from aimq.errors import AimqError, FieldError, InternalError, Invalid
from ml_service.columns import NOT_FINITE
from ml_service.float_format import shortest_double
from ml_service.intervals import NO_INTERVAL, HalfWidths
from ml_service.runtimes.port import Values
from ml_service.version import GroupModel, Version

#: The fields of an answer, or why there is none.
Outcome = dict[str, Any] | AimqError
#: Outcomes of records in their order, and the rows that each runtime predicted.
Outcomes = tuple[list[Outcome], Counter[str]]


class Scored(NamedTuple):
    """The body of an answer, the rows that each runtime predicted, and those with a warning."""

    body: bytes
    served: Mapping[str, int]
    warned: int


class Failed(msgspec.Struct, frozen=True):
    """What is answered in the place of a record that has no prediction."""

    error: str
    errors: list[FieldError]


def answer(
    version: Version, group: str, value: Values, halves: HalfWidths, warning: str = ""
) -> dict[str, Any]:
    """Return the fields of an answer.

    Args:
        value: what the model gave for the row: a number, or the probability of each class.
        halves: see `half_widths`.
        warning: what is unusual in the row.

    Raises:
        InternalError: the model gave no finite number.
    """
    schema = version.schema
    fields: dict[str, Any]
    if schema.classes:
        place = int(value.argmax())
        probability = min(_number(value[place]), 1.0)
        fields = {schema.prediction: schema.classes[place], "probability": probability}
    else:
        fields = {schema.prediction: _number(value)}
    if halves:
        fields[f"{schema.prediction}_low"] = _number(value - halves[group])
        fields[f"{schema.prediction}_high"] = _number(value + halves[group])
    fields.update(version.labels[group])
    if warning:
        fields["warning"] = warning
    return fields


def _number(value: Any) -> float:  # noqa: ANN401 # a float32
    number = shortest_double(value)
    if not math.isfinite(number):
        raise InternalError(NOT_FINITE)
    return number


def score(
    version: Version, model_format: str, records: Sequence[Any], halves: HalfWidths = NO_INTERVAL
) -> Outcomes:
    """Return an outcome for each record, in order, and the rows that each runtime predicted.

    May block: see `most_inline`.

    Raises:
        TransientError: the runtime cannot answer now; no record is answered then.
    """
    outcomes: list[Outcome] = [{}] * len(records)
    groups: dict[str, tuple[GroupModel, list[int], list[list[float]]]] = {}
    for index, record in enumerate(records):
        try:
            encoded = version.encoder.encode(record)
            if encoded.group not in groups:
                groups[encoded.group] = (version.model(model_format, encoded.group), [], [])
        except Invalid as exc:
            outcomes[index] = exc
            continue
        _, places, rows = groups[encoded.group]
        places.append(index)
        rows.append(encoded.row)
    served: Counter[str] = Counter()
    for group, (group_model, places, rows) in groups.items():
        matrix = np.array(rows, dtype=np.float32)
        values, served_by = group_model.predict(matrix)
        served[served_by] += len(places)
        warnings = version.observe(matrix, partial(_given, records, places))
        for n, index in enumerate(places):
            try:
                outcomes[index] = answer(version, group, values[n], halves, warnings.get(n, ""))
            except AimqError as exc:
                outcomes[index] = exc
    return outcomes, served


def _given(records: Sequence[Any], places: Sequence[int], field: str, row: int) -> object:
    return records[places[row]].get(field)


def score_list(
    version: Version, model_format: str, records: Sequence[object], halves: HalfWidths
) -> Scored:
    """Do as `score`, and return the outcomes as a JSON list."""
    outcomes, served = score(version, model_format, records, halves)
    answers = [o if isinstance(o, dict) else Failed(o.detail, o.errors) for o in outcomes]
    return Scored(msgspec.json.encode(answers), served, warned(outcomes))


def warned(outcomes: Sequence[Outcome]) -> int:
    """Return how many outcomes have a warning."""
    return sum(isinstance(outcome, dict) and "warning" in outcome for outcome in outcomes)


def most_inline(version: Version, model_format: str) -> int:
    """Return how many records of any groups may be scored on the event loop; 0: none."""
    return min(group_model.inline_rows for group_model in version.groups(model_format).values())
