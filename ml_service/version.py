"""One published version in memory: its schema, and a warm model per group and format."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
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


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version being served. Requests under way keep the one they began with.

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


def load_version(
    models_dir: Path,
    name: str,
    version: str,
    runtimes: dict[str, ModelRuntime],
    *,
    whole: bool,
) -> Version:
    """Read, check, load and warm up a version. Blocks for a second or so.

    The formats load side by side: one spends its time in ONNX Runtime, the other in imports.

    Args:
        runtimes: format to the runtime that executes it.
        whole: a group with a file that must not be served refuses the version. Otherwise the group
            is left out and listed in `Version.refused`.

    Raises:
        ModelRefused: the manifest or the schema is damaged, a group of a version that has to be
            whole is refused, or every group is.
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
        list(pool.map(partial(_load_groups, folder, loaded), runtimes.items()))
    _leave_out_refused(loaded, whole=whole)
    return loaded


def _load_groups(folder: Path, version: Version, way: tuple[str, ModelRuntime]) -> None:
    model_format, runtime = way
    for group in version.schema.groups:
        try:
            model = _load(folder, version, group, model_format, runtime)
        except ModelRefused as exc:
            logger.error("version %s, group %s is refused: %s", version.name, group, exc.detail)  # noqa: TRY400 # the detail says all
            version.refused[group] = exc.detail
        else:
            version.models[model_format][group] = model


def _leave_out_refused(version: Version, *, whole: bool) -> None:
    refused = version.refused
    if refused and (whole or len(refused) == len(version.schema.groups)):
        reasons = "; ".join(f"group {group}: {why}" for group, why in sorted(refused.items()))
        raise ModelRefused(f"Version {version.name}: {reasons}")
    for group in refused:
        for models in version.models.values():
            models.pop(group, None)


def _load(
    folder: Path, version: Version, group: str, model_format: str, runtime: ModelRuntime
) -> GroupModel:
    file = _file(folder, version, group, group + _SUFFIX[model_format])
    model = runtime.load(file)
    try:
        inline_rows = warm_up(model, file.features)
    except AimqError as exc:
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
