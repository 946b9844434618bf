"""One published version in memory: its schema and a warm model per group and runtime."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from aimq import published
from aimq.errors import AimqError, Invalid, ModelRefused
from aimq.published import Manifest
from aimq.schema import RecordEncoder, Schema, load_schema
from ml_service import execution
from ml_service.batching import Batcher
from ml_service.execution import Ask
from ml_service.runtimes.port import LoadedModel, ModelFile, ModelRuntime

logger = logging.getLogger(__name__)

#: The two ways of asking, and the suffix of their files.
ONNX: Final = "onnx"
PICKLE: Final = "pickle"
_SUFFIX: Final = {ONNX: ".onnx", PICKLE: ".pkl"}
#: A pickle is read from disk at each call of the warm-up, so one is enough.
_WARM_CALLS: Final = {ONNX: execution.WARM_CALLS, PICKLE: 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupModel:
    """A warm model of one group on one runtime.

    Attributes:
        ask: asks it, blocking.
        runtime: the runtime's name.
        inline_rows: most rows it may answer on the event loop; 0: none.
        file: the published file.
        bytes: size of the file.
        batcher: how single records are asked for that may not be on the event loop; none for
            pickles, which are loaded for every request.
    """

    model: LoadedModel
    ask: Ask
    runtime: str
    inline_rows: int
    file: ModelFile
    bytes: int
    batcher: Batcher | None


@dataclass(slots=True, kw_only=True)
class Version:
    """A version being served. Fixed once it is loaded, but for who holds it.

    Attributes:
        models: way of asking (`ONNX`, `PICKLE`) to group to model.
        refused: group to why it is not served.
        answers: group to the JSON of its predictions, ``%s`` in the place of the number.
    """

    manifest: Manifest
    schema: Schema
    encoder: RecordEncoder
    models: dict[str, dict[str, GroupModel]]
    refused: dict[str, str]
    answers: dict[str, bytes]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    _users: int = 0
    _idle: asyncio.Event | None = None

    @property
    def name(self) -> str:
        """The version's name."""
        return self.manifest.version

    def model(self, way: str, group: str) -> GroupModel:
        """Return the model of a group.

        Raises:
            Invalid: the group is not served; names those that are, and why this one is not.
        """
        found = self.models[way].get(group)
        if found is None:
            sentence = self.not_served(group)
            field_ = self.schema.group
            raise Invalid(
                f"{field_}: {sentence}.",
                errors=[{"field": field_, "message": sentence, "given": group}],
            )
        return found

    def not_served(self, group: str) -> str:
        """Return the sentence on a group that is not served."""
        served = ", ".join(sorted(self.models[ONNX])) or "none"
        reason = self.refused.get(group, "it has no model")
        return f"no model is served for group {group} ({reason}); groups served: {served}"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep it from being closed while something is awaited. Event loop only."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._idle is not None and not self._users:
                self._idle.set()

    async def unused(self) -> None:
        """Wait until no request holds this version, which no new one gets. Event loop only."""
        self._idle = asyncio.Event()
        if self._users:
            await self._idle.wait()

    def close(self) -> None:
        """Free the models. Idempotent."""
        for models in self.models.values():
            for group_model in models.values():
                group_model.model.close()


def load_version(
    models_dir: Path, name: str, version: str, ways: dict[str, ModelRuntime]
) -> Version:
    """Read, check, load and warm up a version; blocks for a second or so.

    A group with a file that must not be served is left out and listed in `Version.refused`.

    Args:
        ways: way of asking to the runtime that does it.

    Raises:
        ModelRefused: the manifest or the schema is damaged, or no group can be served.
        TransientError: a runtime cannot be reached.
    """
    folder = models_dir / name / version
    manifest = published.read_manifest(folder)
    schema = load_schema(published.verified(folder, manifest, "schema.toml"))
    loaded = Version(
        manifest=manifest,
        schema=schema,
        encoder=RecordEncoder(schema),
        models={way: {} for way in ways},
        refused={},
        answers={group: _answer(schema, group, version) for group in schema.groups},
        metrics=_metrics(folder, manifest),
    )
    for group in schema.groups:
        try:
            pair = {way: _load(folder, loaded, way, group, ways[way]) for way in ways}
        except ModelRefused as exc:
            logger.error("version %s, group %s is refused: %s", version, group, exc.detail)  # noqa: TRY400 # the detail says all
            loaded.refused[group] = exc.detail
        except BaseException:
            loaded.close()
            raise
        else:
            for way, group_model in pair.items():
                loaded.models[way][group] = group_model
    if len(loaded.refused) == len(schema.groups):
        reasons = "; ".join(loaded.refused.values())
        raise ModelRefused(f"Version {version}: no group can be served: {reasons}")
    return loaded


def _load(
    folder: Path, version: Version, way: str, group: str, runtime: ModelRuntime
) -> GroupModel:
    manifest, schema = version.manifest, version.schema
    if group not in manifest.groups:
        raise ModelRefused(f"{folder / published.MANIFEST}: has no group {group}")
    file_name = group + _SUFFIX[way]
    path = published.verified(folder, manifest, file_name)
    file = ModelFile(
        name=manifest.name,
        group=group,
        version=manifest.version,
        path=path,
        sha256=manifest.files[file_name],
        features=len(schema.features),
    )
    model = runtime.load(file)
    try:
        ask = execution.asking(model, runtime.name)
        rows = execution.warm_up(model, ask, file.features, _WARM_CALLS[way])
    except AimqError as exc:
        model.close()
        if exc.retryable:
            raise
        raise ModelRefused(f"{path}: failed its warm-up: {exc.detail}") from exc
    return GroupModel(
        model=model,
        ask=ask,
        runtime=runtime.name,
        inline_rows=0 if way == PICKLE else rows,  # the disk is never read on the event loop
        file=file,
        bytes=path.stat().st_size,
        batcher=None if way == PICKLE else Batcher(execution.awaiting(model, runtime.name)),
    )


def _answer(schema: Schema, group: str, version: str) -> bytes:
    rest = msgspec.json.encode({schema.group: group, "model_version": version})[1:]
    first = b"{" + msgspec.json.encode(schema.prediction) + b":"
    return first.replace(b"%", b"%%") + b"%s," + rest.replace(b"%", b"%%")


def _metrics(folder: Path, manifest: Manifest) -> Mapping[str, Any]:
    try:
        path = published.verified(folder, manifest, "metrics.json")
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (ModelRefused, OSError, msgspec.MsgspecError) as exc:
        logger.warning("metrics of version %s cannot be shown: %s", manifest.version, exc)
        return {}
