"""``POST /predict/<way>``: one record, a list of records, or an Arrow stream."""

from __future__ import annotations

from typing import Final

import numpy as np
from starlette.types import Receive, Scope

from aimq.settings import Settings
from ml_service import bodies, columns, records
from ml_service.bodies import Budget
from ml_service.catalogue import Catalogue
from ml_service.endpoint import Reply
from ml_service.metrics import ServiceMetrics
from ml_service.runtimes.port import Matrix, Predictions
from ml_service.threads import Threads
from ml_service.version import ONNX, GroupModel, Version

_JSON: Final = (b"content-type", b"application/json")
_ARROW: Final = (b"content-type", bodies.ARROW.encode())
#: A list of so many records costs more to read than to predict; it leaves the event loop.
_LIST_INLINE: Final = 64


class Predict:
    """The handler of one way of asking. Belongs to the event loop.

    Args:
        way: which models are asked: `ONNX` or `PICKLE`.
        threads: where everything runs that would hold the event loop up.
        budget: bytes of Arrow streams held at one time, over all ways of asking.
    """

    def __init__(
        self,
        way: str,
        catalogue: Catalogue,
        threads: Threads,
        metrics: ServiceMetrics,
        settings: Settings,
        budget: Budget,
    ) -> None:
        self._way = way
        self._catalogue = catalogue
        self._threads = threads
        self._metrics = metrics
        self._max_json = settings.max_body_kb * 1024
        self._max_arrow = settings.max_upload_mb * 1024 * 1024
        self._max_rows = settings.max_rows
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive) -> Reply:
        """Answer a request by what its body is."""
        if bodies.media_type(scope) == bodies.ARROW:
            with self._budget.share() as share:
                body = await bodies.read_body(scope, receive, self._max_arrow, share)
                return await self._stream(body)
        body = await bodies.read_body(scope, receive, self._max_json)
        value = bodies.decode_json(body)
        if isinstance(value, list):
            return await self._list(value)
        version, group, group_model, matrix = self._encoded(value)
        if group_model.inline_rows:
            return self._reply(version, group, group_model.predict(matrix))
        return self._reply(version, group, await self._awaited(group_model, matrix))

    @property
    def is_immediate(self) -> bool:
        """Whether `at_once` answers a record: every group's model may be on the event loop."""
        version = self._catalogue.peek()
        return version is not None and records.most_inline(version, self._way) > 0

    def at_once(self, scope: Scope, body: bytes) -> Reply | None:
        """Answer a request for one record, where its model may be on the event loop.

        Returns:
            None where it may not, and for everything but a record in JSON.
        """
        if (
            body[:1] == b"["
            or len(body) > self._max_json
            or bodies.media_type(scope) != bodies.JSON
        ):
            return None
        value = bodies.decode_json(body)
        if isinstance(value, list):
            return None
        version, group, group_model, matrix = self._encoded(value)
        if not group_model.inline_rows:
            return None
        return self._reply(version, group, group_model.predict(matrix))

    def _encoded(self, record: object) -> tuple[Version, str, GroupModel, Matrix]:
        version = self._catalogue.current
        encoded = version.encoder.encode(record)
        group_model = version.model(self._way, encoded.group)
        return version, encoded.group, group_model, np.array([encoded.row], dtype=np.float32)

    def _reply(self, version: Version, group: str, answer: Predictions) -> Reply:
        self._metrics.predicted(self._way, answer.served_by, 1)
        body = records.encode_answer(version, group, answer)
        return Reply(body, [_JSON, _served_by([answer.served_by])], quick=self._way == ONNX)

    async def _awaited(self, group_model: GroupModel, matrix: Matrix) -> Predictions:
        if group_model.batcher is not None:
            return await group_model.batcher.predict(matrix)
        return await self._threads.run(group_model.predict, matrix)

    async def _list(self, values: list[object]) -> Reply:
        version = self._catalogue.current
        inline = min(_LIST_INLINE, records.most_inline(version, self._way))
        if len(values) <= inline:
            body, served = records.score_list(version, self._way, values)
        else:
            body, served = await self._threads.run(records.score_list, version, self._way, values)
        return Reply(body, [_JSON, _served_by(served)], quick=False)

    async def _stream(self, body: bytes) -> Reply:
        version = self._catalogue.current
        answer, served = await self._threads.run(self._score_stream, version, body)
        return Reply(answer, [_ARROW, _served_by(served)], quick=False)

    def _score_stream(self, version: Version, body: bytes) -> tuple[bytes, list[str]]:
        frame = columns.read_stream(body, version, self._max_rows)
        scored = columns.predict_table(version, self._way, frame)
        return columns.write_stream(version, scored), sorted(scored.served)


def _served_by(runtimes: list[str]) -> tuple[bytes, bytes]:
    return b"x-served-by", ", ".join(runtimes).encode() or b"none"
