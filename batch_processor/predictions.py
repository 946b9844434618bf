"""Handles asynchronous predictions: many tasks, one request to the ML service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from aimq.errors import FieldError, Invalid
from batch_processor.handler import Ending, Success, Work

#: Most records of one request.
MOST: Final = 256


class Predictor(Protocol):
    """Where predictions come from (`aimq.ml_client.blocking.MlClient`)."""

    def predict_records(self, records: list[object]) -> list[dict[str, Any]]:
        """Score records; one answer per record, in order."""
        ...


class RecordScorer:
    """The `Handler` of predictions: whatever waits, up to `MOST`, goes in one request."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def limit(self) -> int:
        """Most tasks taken at once."""
        return MOST

    def handle(self, works: Sequence[Work]) -> Sequence[Ending]:
        """Predict every record; a wrong one fails its own task and no other."""
        answers = self._predictor.predict_records(
            [msgspec.Raw(work.job.input) for work in works]  # as it was stored: JSON already
        )
        return [_ending(answer) for answer in answers]


def _ending(answer: Mapping[str, Any]) -> Ending:
    if "error" in answer:
        errors: list[FieldError] = answer.get("errors", [])
        return Invalid(str(answer["error"]), errors=errors)
    version = str(answer.get("model_version", ""))
    # The group's key is the schema's; it is the other text of an answer.
    groups = [v for k, v in answer.items() if k != "model_version" and isinstance(v, str)]
    return Success(
        result=msgspec.json.encode(answer), model_versions=dict.fromkeys(groups, version)
    )
