"""Predictions for JSON records: one, or a list in which each has its own error."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from aimq.errors import AimqError, FieldError, InternalError, Invalid
from ml_service.columns import NOT_FINITE
from ml_service.float_format import shortest
from ml_service.runtimes.port import Predictions
from ml_service.version import GroupModel, Version

#: A prediction (its group, its shortest decimal), or why there is none.
Outcome = tuple[str, str] | AimqError
#: Outcomes of records in their order, and the rows that each runtime predicted.
Outcomes = tuple[list[Outcome], Counter[str]]


class Failed(msgspec.Struct, frozen=True):
    """What is answered in the place of a record that has no prediction."""

    error: str
    errors: list[FieldError]


def encode_answer(version: Version, group: str, answer: Predictions) -> bytes:
    """Return the JSON of one prediction. Raises `InternalError` when it is no finite number."""
    value = answer.values[0]
    if not math.isfinite(value):
        raise InternalError(f"{group}: {NOT_FINITE}")
    return version.answers[group] % shortest(value).encode()


def score(version: Version, model_format: str, records: Sequence[object]) -> Outcomes:
    """Return an outcome for each record, in order, and the rows that each runtime predicted.

    May block: see `most_inline`.

    Raises:
        TransientError: the runtime cannot answer now; no record is answered then.
    """
    outcomes: list[Outcome] = [("", "")] * len(records)
    rows: dict[str, tuple[GroupModel, list[int], list[list[float]]]] = {}
    for index, record in enumerate(records):
        try:
            encoded = version.encoder.encode(record)
            if encoded.group not in rows:
                rows[encoded.group] = (version.model(model_format, encoded.group), [], [])
        except Invalid as exc:
            outcomes[index] = exc
            continue
        _, places, matrix = rows[encoded.group]
        places.append(index)
        matrix.append(encoded.row)
    served: Counter[str] = Counter()
    for group, (group_model, places, matrix) in rows.items():
        answer = group_model.predict(np.array(matrix, dtype=np.float32))
        served[answer.served_by] += len(places)
        for index, value in zip(places, answer.values, strict=True):
            finite = math.isfinite(value)
            outcomes[index] = (group, shortest(value)) if finite else InternalError(NOT_FINITE)
    return outcomes, served


def score_list(
    version: Version, model_format: str, records: Sequence[object]
) -> tuple[bytes, Counter[str]]:
    """Do as `score`, and return the outcomes as a JSON list."""
    outcomes, served = score(version, model_format, records)
    replies = (
        version.answers[outcome[0]] % outcome[1].encode()
        if isinstance(outcome, tuple)
        else msgspec.json.encode(Failed(outcome.detail, outcome.errors))
        for outcome in outcomes
    )
    return b"[" + b",".join(replies) + b"]", served


def most_inline(version: Version, model_format: str) -> int:
    """Return how many records of any groups may be scored on the event loop; 0: none."""
    return min(group_model.inline_rows for group_model in version.groups(model_format).values())
