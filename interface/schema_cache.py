"""The schema of the model in service, as the ML service last sent it."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from aimq.errors import AimqError, MlUnavailable, ModelRefused
from aimq.ml_client.relay import MlRelay
from aimq.schema import Schema
from aimq.schema.model import parse_schema
from aimq.schema.records import RecordEncoder
from interface.metrics import Metrics


class SchemaCache:
    """Keeps the last schema, also while the ML service is away. Belongs to one event loop.

    Attributes:
        schema: None until the ML service has answered for the first time.
        encoder: checks records against the schema; None like it.
        problem: why the ML service does not answer; None when it does.
    """

    def __init__(self, ml: MlRelay, metrics: Metrics) -> None:
        self._ml = ml
        self._metrics = metrics
        self._body = b""
        self.schema: Schema | None = None
        self.encoder: RecordEncoder | None = None
        self.problem: str | None = "not asked yet"

    async def refresh(self) -> None:
        """Ask the ML service. Raises `MlUnavailable` and other `AimqError`s of the relay."""
        try:
            self._take(await self._ask())
        except AimqError as exc:
            self.problem = exc.detail
            self._metrics.up.labels("ml_service").set(0)
            raise
        self.problem = None
        self._metrics.up.labels("ml_service").set(1)

    async def _ask(self) -> bytes:
        answer = await self._ml.get(b"/models")
        if answer.status != HTTPStatus.OK:
            raise MlUnavailable(f"The ML service answers {answer.status} to GET /models.")
        return answer.body

    def _take(self, body: bytes) -> None:
        if body == self._body:
            return
        try:
            schema = parse_schema(msgspec.json.decode(body)["schema"])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, ModelRefused) as exc:
            raise MlUnavailable("GET /models of the ML service cannot be understood.") from exc
        self.schema, self.encoder, self._body = schema, RecordEncoder(schema), body
