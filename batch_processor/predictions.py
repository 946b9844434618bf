"""Works on asynchronous predictions: many tasks, few requests to the ML service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from aimq.errors import AimqError, ClientError, FieldError, Invalid, TooLarge
from aimq.ml_client.blocking import MlClient
from aimq.schema.model import UNGROUPED
from batch_processor.disposition import Ack
from batch_processor.work import Result, Work

#: Most records of one request.
MAX_RECORDS: Final = 256
#: Texts of an answer that are neither prediction nor group.
_OURS: Final = frozenset({"model_version", "warning"})
#: How the ML service refuses a whole request for what one record in it may be.
_REFUSALS: Final = (ClientError, TooLarge, Invalid)


class PredictionHandler:
    """The handler of predictions. A wrong record fails its own task and no other. Thread-safe.

    A request is for one model.

    Args:
        max_bytes: most bytes of records in one request; a larger record goes alone.
    """

    def __init__(self, client: MlClient, max_bytes: int) -> None:
        self._client, self._max_bytes = client, max_bytes

    def __call__(self, works: Sequence[Work]) -> Sequence[Result]:
        """Predict every record; one result per task, in order."""
        of_model: dict[str, list[int]] = {}
        for place, work in enumerate(works):
            of_model.setdefault(work.job.model, []).append(place)
        results: dict[int, Result] = {}
        for model, places in of_model.items():
            records = [works[place].job.input for place in places]
            answers = [
                result for batch in self._batches(records) for result in self._predict(model, batch)
            ]
            results.update(zip(places, answers, strict=True))
        return [results[place] for place in range(len(works))]

    def _batches(self, records: Sequence[bytes]) -> Iterator[list[bytes]]:
        """Yield the records in order, in batches of at most `max_bytes`."""
        batch: list[bytes] = []
        size = 0
        for record in records:
            if batch and size + len(record) > self._max_bytes:
                yield batch
                batch, size = [], 0
            batch.append(record)
            size += len(record)
        if batch:
            yield batch

    def _predict(self, model: str, batch: list[bytes]) -> list[Result]:
        """Predict a batch. One that is refused as a whole is split, down to the record at fault."""
        records: list[object] = [msgspec.Raw(record) for record in batch]
        try:
            answers = self._client.predict_records(records, model)
        except AimqError as exc:
            if type(exc) not in _REFUSALS or len(batch) == 1:
                return [exc] * len(batch)
            middle = len(batch) // 2
            return self._predict(model, batch[:middle]) + self._predict(model, batch[middle:])
        return [_result(answer) for answer in answers]


def _result(answer: Mapping[str, Any]) -> Result:
    if "error" in answer:
        errors: list[FieldError] = answer.get("errors", [])
        return Invalid(str(answer["error"]), errors=errors)
    version = str(answer.get("model_version", ""))
    # The first key is the prediction's. The group's key is the schema's: of the others that are
    # not ours, the only text.
    groups = [v for k, v in list(answer.items())[1:] if k not in _OURS and isinstance(v, str)]
    versions = dict.fromkeys(groups or [UNGROUPED], version)
    return Ack(result=msgspec.json.encode(answer), model_versions=versions)
