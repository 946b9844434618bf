"""The models that the ML service has and their schemas, as it last sent them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec

from aimq.errors import AimqError, MlUnavailable, ModelRefused
from aimq.ml_client.relay import MlRelay
from aimq.ml_client.served_models import ServedModel, read_models, unknown_model
from aimq.schema import Schema
from aimq.schema.model import parse_schema
from aimq.schema.records import RecordEncoder
from interface.metrics import Metrics

#: Longest wait for the ML service while a client waits for its answer, in seconds.
ASKED_SECONDS: Final = 2.0
_MALFORMED: Final = (
    msgspec.MsgspecError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ModelRefused,
)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model of the ML service.

    Attributes:
        version: the schema's; another than that of `served` while a new one comes into service.
        encoder: checks records against the schema.
    """

    served: ServedModel
    version: str
    schema: Schema
    encoder: RecordEncoder


class SchemaCache:
    """Keeps the last schemas, also while the ML service is away. Belongs to one event loop.

    Attributes:
        problem: why the ML service does not answer; None when it does.
    """

    def __init__(self, ml: MlRelay, metrics: Metrics) -> None:
        self._ml = ml
        self._metrics = metrics
        self._known: dict[str, KnownModel] = {}
        self.problem: str | None = "not asked yet"

    @property
    def known(self) -> tuple[KnownModel, ...]:
        """The models whose schema is known; empty until the ML service has answered once."""
        return tuple(self._known.values())

    @property
    def default(self) -> KnownModel | None:
        """The default model; None while it is not known."""
        return next((model for model in self.known if model.served.default), None)

    @property
    def schema(self) -> Schema | None:
        """The schema of the default model; None while it is not known."""
        return self.default.schema if self.default else None

    async def find(self, name: str) -> KnownModel | None:
        """Return a model. The ML service is asked for one that is not known: it may be new.

        Returns:
            None while the ML service is away, so that nobody knows whether there is such a model.

        Raises:
            NotFound: there is none of this name; lists those there are.
        """
        answered = name in self._known or await self.refresh_if_possible()
        if answered and name not in self._known:
            raise unknown_model(name, self._known)
        return self._known.get(name)

    async def refresh_if_possible(self) -> bool:
        """Ask the ML service now. False while it is away or slow; what is known stays then."""
        try:
            async with asyncio.timeout(ASKED_SECONDS):
                await self.refresh()
        except (AimqError, TimeoutError):
            return False
        return True

    async def refresh(self) -> None:
        """Ask the ML service. Raises `MlUnavailable` and other `AimqError`s of the relay."""
        try:
            await self._take(await self._ask("/models"))
        except AimqError as exc:
            self.problem = exc.detail
            self._metrics.up.labels("ml_service").set(0)
            raise
        self.problem = None
        self._metrics.up.labels("ml_service").set(1)

    async def _ask(self, path: str) -> bytes:
        answer = await self._ml.get(path.encode())
        if answer.status != HTTPStatus.OK:
            raise MlUnavailable(f"The ML service answers {answer.status} to GET {path}.")
        return answer.body

    async def _take(self, body: bytes) -> None:
        """Take the list, and the schemas of those models that have another version than before."""
        try:
            models = read_models(body)
        except msgspec.MsgspecError as exc:
            raise MlUnavailable("GET /models of the ML service cannot be understood.") from exc
        names = {model.name for model in models}
        self._known = {name: model for name, model in self._known.items() if name in names}
        for model in sorted(models, key=lambda model: not model.default):
            known = self._known.get(model.name)
            if model.version is None:
                continue
            if known and known.version == model.version:
                self._known[model.name] = replace(known, served=model)
            else:
                self._known[model.name] = await self._fetch(model, model.version)

    async def _fetch(self, model: ServedModel, version: str) -> KnownModel:
        path = f"/models/{quote(model.name, safe='')}/schema"
        body = await self._ask(path)
        try:
            content = msgspec.json.decode(body)
            schema, version = parse_schema(content["schema"]), content.get("version", version)
        except _MALFORMED as exc:
            raise MlUnavailable(f"GET {path} of the ML service cannot be understood.") from exc
        return KnownModel(model, version, schema, RecordEncoder(schema))
