"""Loads a published version: files checked, models warm, all in memory before it is returned."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aimq import published
from aimq.errors import AimqError, ModelRefused
from aimq.profile import PROFILE, Profile, read_profile
from aimq.published import Manifest
from aimq.schema import RecordEncoder, Schema
from ml_service.batching import Batcher
from ml_service.drift import Drift
from ml_service.overview import read_overview
from ml_service.row_warnings import RowWarnings
from ml_service.runtimes.port import ModelFile, ModelRuntime
from ml_service.version import ONNX, PICKLE, GroupModel, Version, has_pickles
from ml_service.warmup import warm_up

logger = logging.getLogger(__name__)

_SUFFIX: Final = {ONNX: ".onnx", PICKLE: ".pkl"}


def load_version(
    models_dir: Path, name: str, version: str, runtimes: dict[str, ModelRuntime], *, whole: bool
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
    overview = read_overview(folder)
    manifest, schema = overview.manifest, overview.schema
    profile = _profile(folder, manifest, schema)
    with ThreadPoolExecutor(len(runtimes), "load") as pool:
        loading = {
            key: pool.submit(_load_groups, _Source(folder, manifest, schema, key), runtime)
            for key, runtime in runtimes.items()
            if key == ONNX or has_pickles(manifest)
        }
    groups = {key: future.result() for key, future in loading.items()}
    refused = {
        group: outcome
        for outcomes in groups.values()
        for group, outcome in outcomes.items()
        if isinstance(outcome, str)
    }
    if refused and (whole or len(refused) == len(schema.groups)):
        reasons = "; ".join(f"group {group}: {why}" for group, why in sorted(refused.items()))
        raise ModelRefused(f"Version {version}: {reasons}")
    return Version(
        manifest=manifest,
        schema=schema,
        encoder=RecordEncoder(schema),
        models={
            key: {
                group: model
                for group, model in outcomes.items()
                if isinstance(model, GroupModel) and group not in refused
            }
            for key, outcomes in groups.items()
        },
        refused=refused,
        labels={group: _labels(schema, group, version) for group in schema.groups},
        metrics=overview.metrics,
        profile=profile,
        drift=None if profile is None else Drift(profile),
        warnings=RowWarnings(schema, profile) if profile is not None and schema.warn else None,
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the models of one format come from."""

    folder: Path
    manifest: Manifest
    schema: Schema
    model_format: str


def _load_groups(source: _Source, runtime: ModelRuntime) -> dict[str, GroupModel | str]:
    """Return each group's model, or why it is refused."""
    groups: dict[str, GroupModel | str] = {}
    for group in source.schema.groups:
        try:
            groups[group] = _load(source, group, runtime)
        except ModelRefused as exc:
            logger.error("group %s is refused: %s", group, exc.detail)  # noqa: TRY400 # the detail says all
            groups[group] = exc.detail
    return groups


def _load(source: _Source, group: str, runtime: ModelRuntime) -> GroupModel:
    file = _file(source, group)
    model = runtime.load(file)
    try:
        inline_rows = warm_up(model, file.features, file.outputs)
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
        batcher=Batcher(model.predict_async) if source.model_format == ONNX else None,
    )


def _file(source: _Source, group: str) -> ModelFile:
    manifest, name = source.manifest, group + _SUFFIX[source.model_format]
    if group not in manifest.groups:
        raise ModelRefused(f"{source.folder / published.MANIFEST}: has no group {group}")
    return ModelFile(
        name=manifest.name,
        group=group,
        version=manifest.version,
        path=published.verified(source.folder, manifest, name),
        sha256=manifest.files[name],
        features=len(source.schema.matrix_columns),
        outputs=source.schema.outputs,
    )


def _labels(schema: Schema, group: str, version: str) -> dict[str, str]:
    grouped = {} if schema.group is None else {schema.group: group}
    return {**grouped, "model_version": version}


def _profile(folder: Path, manifest: Manifest, schema: Schema) -> Profile | None:
    """Return the profile of the training rows; None if none was published."""
    if PROFILE not in manifest.files:
        return None
    path = published.verified(folder, manifest, PROFILE)
    profile = read_profile(path)
    if tuple(column.name for column in profile.columns) != schema.matrix_columns:
        raise ModelRefused(f"{path}: its columns are not the schema's. Train the model again.")
    return profile
