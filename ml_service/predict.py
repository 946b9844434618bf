"""``POST /predict/onnx``, ``/predict/pickle`` and ``/models/{name}/predict``.

A body is a record, a list of records, or an Arrow stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import numpy as np
from starlette.responses import Response
from starlette.types import Receive, Scope

from aimq.errors import Overloaded, UnsupportedMedia
from aimq.http.bodies import decode_json, read_body
from aimq.http.headers import header
from ml_service import arrow_streams, columns, records
from ml_service.context import ServiceContext
from ml_service.deployment import Deployment
from ml_service.intervals import NO_INTERVAL, HalfWidths, half_widths, read_interval
from ml_service.records import Scored
from ml_service.runtimes.port import Matrix, Predictions
from ml_service.version import GroupModel, Version

JSON: Final = "application/json"
ARROW: Final = "application/vnd.apache.arrow.stream"
#: A longer list costs more to read than to predict; it leaves the event loop.
LIST_INLINE: Final = 64
#: Longest wait for an Arrow stream, in seconds.
_STREAM_SECONDS: Final = 60.0


class BodyBudget:
    """Bytes of large bodies held at one time. Belongs to the event loop."""

    def __init__(self, most: int) -> None:
        self._left = most

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes bytes; what it took is given back at the end.

        It raises `Overloaded` when there are not as many left.
        """
        taken = 0

        def take(amount: int) -> None:
            nonlocal taken
            if amount > self._left:
                raise Overloaded("Too many large bodies are under way.", retry_after=1.0)
            self._left -= amount
            taken += amount

        try:
            yield take
        finally:
            self._left += taken


class Predict:
    """Answers requests for the models of one format. Belongs to the event loop.

    Args:
        model_format: `ONNX` or `PICKLE`.
        budget: bytes of Arrow streams held at one time, over all formats.
        by_name: asks the model that the path names (``name``), instead of the default.
    """

    def __init__(
        self,
        context: ServiceContext,
        model_format: str,
        budget: BodyBudget,
        *,
        by_name: bool = False,
    ) -> None:
        self._format = model_format
        self._by_name = by_name
        self._catalogue = context.catalogue
        self._default = context.catalogue.default
        self._admission = context.admission
        self._threads = context.threads
        self._metrics = context.metrics
        self._max_json = context.settings.max_body_kb * 1024
        self._max_arrow = context.settings.max_upload_mb * 1024 * 1024
        self._max_rows = context.settings.max_rows
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive) -> Response:
        """Answer a request by what its body is."""
        interval = read_interval(scope["query_string"]) if scope["query_string"] else 0
        deployment = self._default
        if self._by_name:
            deployment = self._catalogue.find(scope["path_params"]["name"])
        if media_type(scope) == ARROW:
            return await self._stream(deployment, scope, receive, interval)
        body = await read_body(scope, receive, self._max_json)
        async with self._admission:
            value = decode_json(body)
            if self._by_name:
                with self._admission.aside():
                    await deployment.ready()
            if isinstance(value, list):
                return await self._list(deployment, value, interval)
            return await self._record(deployment, value, interval)

    async def _record(self, deployment: Deployment, value: Any, interval: int) -> Response:  # noqa: ANN401 # any JSON
        version = deployment.choose()
        halves = half_widths(version, interval) if interval else NO_INTERVAL
        encoded = version.encoder.encode(value)
        model = version.model(self._format, encoded.group)
        matrix = np.array([encoded.row], dtype=np.float32)
        if model.inline_rows:
            values, served_by = model.predict(matrix)
        else:
            values, served_by = await self._awaited(model, matrix)
        answer = records.answer(version, encoded.group, values[0], halves)
        warning = version.observe_one(matrix, value)
        if warning:
            answer["warning"] = warning
            self._metrics.warned(version, 1)
        return self._response(version, msgspec.json.encode(answer), {served_by: 1}, JSON)

    async def _awaited(self, model: GroupModel, matrix: Matrix) -> Predictions:
        if model.batcher is not None:
            return await model.batcher.predict(matrix)
        with self._admission.aside():
            return await self._threads.run(model.predict, matrix)

    async def _list(self, deployment: Deployment, values: list[object], interval: int) -> Response:
        version = deployment.current
        halves = half_widths(version, interval)
        if len(values) <= min(LIST_INLINE, records.most_inline(version, self._format)):
            scored = records.score_list(version, self._format, values, halves)
        else:
            with self._admission.aside():
                scored = await self._threads.run(
                    records.score_list, version, self._format, values, halves
                )
        return self._scored(version, scored, JSON)

    async def _stream(
        self, deployment: Deployment, scope: Scope, receive: Receive, interval: int
    ) -> Response:
        with self._budget.share() as take:
            body = await read_body(
                scope, receive, self._max_arrow, seconds=_STREAM_SECONDS, take=take
            )
            await deployment.ready()
            version = deployment.current
            halves = half_widths(version, interval)
            scored = await self._threads.run(self._score_stream, version, body, halves)
        return self._scored(version, scored, ARROW)

    def _score_stream(self, version: Version, body: bytes, halves: HalfWidths) -> Scored:
        frame = arrow_streams.read_stream(body, version, self._max_rows)
        table = columns.predict_table(version, self._format, frame, halves)
        return Scored(arrow_streams.write_stream(version, table), table.served, table.warned)

    def _scored(self, version: Version, scored: Scored, kind: str) -> Response:
        self._metrics.warned(version, scored.warned)
        return self._response(version, scored.body, scored.served, kind)

    def _response(
        self, version: Version, body: bytes, rows: Mapping[str, int], kind: str
    ) -> Response:
        """Return an answer, and count its rows by the runtime that predicted them."""
        self._metrics.predicted(self._format, version.manifest.name, rows)
        served_by = ", ".join(sorted(rows)) or "none"
        return Response(body, headers={"content-type": kind, "x-served-by": served_by})


def media_type(scope: Scope) -> str:
    """Return `JSON` or `ARROW`; a body without a type counts as JSON.

    Raises:
        UnsupportedMedia: neither.
    """
    given = header(scope, b"content-type")
    if given == b"application/json" or not given:
        return JSON
    kind = given.split(b";", 1)[0].strip().lower().decode("latin-1")
    if kind in {JSON, ARROW}:
        return kind
    raise UnsupportedMedia(f"Content-Type {kind[:80]!r} is not read here: send {JSON} or {ARROW}.")
