"""What ``/models`` says of a model: its entry in the list, and its description."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aimq.published import REPORT
from ml_service.deployment import Deployment, NotServing
from ml_service.overview import Overview
from ml_service.version import Version

#: Of a version that cannot be read.
_UNKNOWN: Final[dict[str, Any]] = {
    "task": None, "target": None, "prediction": None, "group": None,
    "columns": (), "required": (), "scores": {}, "baselines": {}, "report": False,
}  # fmt: skip


async def entry(deployment: Deployment, *, default: bool) -> dict[str, Any]:
    """Return a model's entry in the list; of one that cannot be served, why."""
    error, overview = deployment.folder.error, None
    try:
        overview = await deployment.overview()
    except NotServing as exc:
        error = exc.detail
    serves = overview is not None and (error is None or deployment.peek() is not None)
    return {
        "name": deployment.name,
        "title": overview.schema.title if overview else deployment.name,
        "version": overview.manifest.version if overview and serves else None,
        "versions": await asyncio.to_thread(deployment.folder.published),
        "canary": _canary(deployment),
        "loaded": deployment.peek() is not None,
        "default": default,
        "error": error,
        **(_summary(overview) if overview else _UNKNOWN),
    }


def _summary(overview: Overview) -> dict[str, Any]:
    """Return what a version's small files say."""
    schema = overview.schema
    groups = _by_group(overview.metrics)
    return {
        "task": schema.task,
        "target": schema.target,
        "prediction": schema.prediction,
        "group": schema.group,
        "columns": schema.columns,
        "required": schema.required,
        "scores": {group: _table(groups.get(group)).get("model") for group in schema.groups},
        "baselines": {group: _table(groups.get(group)).get("baseline") for group in schema.groups},
        "report": REPORT in overview.manifest.files,
    }


def describe(version: Version, deployment: Deployment) -> dict[str, Any]:
    """Return what is served of a version, where it comes from, and what was refused. Blocks."""
    measured = _by_group(version.metrics)
    return {
        "name": version.manifest.name,
        "version": version.name,
        "created_at": version.manifest.created_at,
        "data": version.manifest.data,
        "groups": {
            group: {**_models(version, group), "metrics": measured.get(group, {})}
            for group in version.schema.groups
        },
        "canary": _canary(deployment),
        "published": deployment.folder.published(),
        "refused": deployment.folder.refused,
        "schema": version.schema.source,
    }


def _models(version: Version, group: str) -> dict[str, Any]:
    models = {
        model_format: {
            "file": by_group[group].file.path.name,
            "sha256": by_group[group].file.sha256,
            "bytes": by_group[group].bytes,
            "runtime": by_group[group].runtime,
            "inline_rows": by_group[group].inline_rows,
        }
        for model_format, by_group in version.models.items()
        if group in by_group
    }
    return {"served": bool(models), "error": version.refused.get(group), "models": models}


def _by_group(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    return _table(metrics.get("groups", metrics))


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _canary(deployment: Deployment) -> dict[str, Any] | None:
    canary = deployment.canary
    return {"version": canary.version, "percent": canary.percent} if canary else None
