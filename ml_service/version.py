"""One published version in memory: its schema, and a warm model per group and format."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from aimq import published
from aimq.errors import AimqError, Invalid, ModelRefused
from aimq.published import Manifest
from aimq.schema import RecordEncoder, Schema, load_schema
from ml_service.batching import Batcher
from ml_service.runtimes.port import Matrix, Model, ModelFile, ModelRuntime, Predictions
from ml_service.warmup import warm_up

logger = logging.getLogger(__name__)

#: The two formats of a model, and the suffix of their files.
ONNX: Final = "onnx"
PICKLE: Final = "pickle"
_SUFFIX: Final = {ONNX: ".onnx", PICKLE: ".pkl"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupModel:
    """A warm model of one group on one runtime.

    Attributes:
        runtime: the runtime's name.
        inline_rows: most rows it may predict on the event loop; 0: none.
        file: the published file.
        bytes: size of the file.
        batcher: how single records are predicted that may not be on the event loop; none for
            pickles, which are loaded for every request.
    """

    model: Model
    runtime: str
    inline_rows: int
    file: ModelFile
    bytes: int
    batcher: Batcher | None

    def predict(self, matrix: Matrix) -> Predictions:
        """See `Model.predict`."""
        return self.model.predict(matrix)


@dataclass(slots=True, kw_only=True)
class Version:
    """A version being served. It does not change once it is loaded, except for its users.

    Attributes:
        models: format (`ONNX`, `PICKLE`) to group to model.
        refused: group to the reason why it is not served. Empty: the version is whole.
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

    def model(self, model_format: str, group: str) -> GroupModel:
        """Return the model of a group.

        Raises:
            Invalid: the group is not served; names those that are, and why this one is not.
        """
        found = self.models[model_format].get(group)
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
        """Wait until no request holds this version; new requests get another. Event loop only."""
        self._idle = asyncio.Event()
        if self._users:
            await self._idle.wait()

    def close(self) -> None:
        """Free the models. Idempotent."""
        for models in self.models.values():
            for group_model in models.values():
                group_model.model.close()


def load_version(
    models_dir: Path, name: str, version: str, runtimes: dict[str, ModelRuntime]
) -> Version:
    """Read, check, load and warm up a version. Blocks for a second or so.

    The formats load side by side: one spends its time in ONNX Runtime, the other in imports. A
    group with a file that must not be served is left out and listed in `Version.refused`.

    Args:
        runtimes: format to the runtime that executes it.

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
        models={model_format: {} for model_format in runtimes},
        refused={},
        answers={group: _answer(schema, group, version) for group in schema.groups},
        metrics=_metrics(folder, manifest),
    )
    with ThreadPoolExecutor(len(runtimes), "load") as pool:
        loading = [
            pool.submit(_load_groups, folder, loaded, model_format, runtime)
            for model_format, runtime in runtimes.items()
        ]
    try:
        for future in loading:
            future.result()
        _leave_out_refused(loaded)
    except BaseException:
        loaded.close()
        raise
    return loaded


def _load_groups(folder: Path, version: Version, model_format: str, runtime: ModelRuntime) -> None:
    for group in version.schema.groups:
        try:
            model = _load(folder, version, group, model_format, runtime)
        except ModelRefused as exc:
            logger.error("version %s, group %s is refused: %s", version.name, group, exc.detail)  # noqa: TRY400 # the detail says all
            version.refused[group] = exc.detail
        else:
            version.models[model_format][group] = model


def _leave_out_refused(version: Version) -> None:
    if len(version.refused) == len(version.schema.groups):
        reasons = "; ".join(version.refused.values())
        raise ModelRefused(f"Version {version.name}: no group can be served: {reasons}")
    for group in version.refused:
        for models in version.models.values():
            if group in models:
                models.pop(group).model.close()


def _load(
    folder: Path, version: Version, group: str, model_format: str, runtime: ModelRuntime
) -> GroupModel:
    file = _file(folder, version, group, group + _SUFFIX[model_format])
    model = runtime.load(file)
    try:
        inline_rows = warm_up(model, file.features)
    except AimqError as exc:
        model.close()
        if exc.retryable:
            raise
        raise ModelRefused(f"{file.path}: failed its warm-up: {exc.detail}") from exc
    return GroupModel(
        model=model,
        runtime=runtime.name,
        inline_rows=inline_rows,
        file=file,
        bytes=file.path.stat().st_size,
        batcher=Batcher(model.predict_async) if model_format == ONNX else None,
    )


def _file(folder: Path, version: Version, group: str, name: str) -> ModelFile:
    manifest = version.manifest
    if group not in manifest.groups:
        raise ModelRefused(f"{folder / published.MANIFEST}: has no group {group}")
    return ModelFile(
        name=manifest.name,
        group=group,
        version=manifest.version,
        path=published.verified(folder, manifest, name),
        sha256=manifest.files[name],
        features=len(version.schema.features),
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
