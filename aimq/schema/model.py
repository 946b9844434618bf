"""What a record looks like: its group, its features, and the target to learn."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from aimq.errors import ModelRefused
from aimq.schema.feature import (
    LARGEST,
    Feature,
    FeatureType,
    category_key,
    category_number,
    fold,
)

__all__ = [
    "LARGEST",
    "UNGROUPED",
    "Feature",
    "FeatureType",
    "Schema",
    "Task",
    "category_key",
    "category_number",
    "fold",
    "load_schema",
    "parse_schema",
]

#: The one group of a schema without groups; its files are ``all.onnx``, ``all.pkl``.
UNGROUPED: Final = "all"


class Task(StrEnum):
    """What is predicted: a number, or one of several classes."""

    REGRESSION = "regression"
    CLASSIFICATION = "classification"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A record: a group, features in the order of the matrix columns, and a target.

    Attributes:
        group: name of the field that chooses the model; None if there is one model.
        groups: its values; `UNGROUPED` alone if there is one model.
        target: name of the column to learn.
        prediction: name of the returned column.
        target_minimum: smallest target value in training; rows below are outliers.
        target_maximum: largest target value in training; rows above are outliers.
        classes: of a classification, in the order of the model's outputs; else empty.
        warn: answers name what a row has that the training table had not.
        source: the tables of the ``schema.toml``.
    """

    name: str
    title: str
    group: str | None
    groups: tuple[str, ...]
    features: tuple[Feature, ...]
    target: str
    prediction: str
    task: Task = Task.REGRESSION
    target_unit: str = ""
    target_minimum: float = float("-inf")
    target_maximum: float = float("inf")
    classes: tuple[str, ...] = ()
    warn: bool = False
    source: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def fields(self) -> tuple[Feature, ...]:
        """The fields of a record: the group first if there is one, then the features."""
        return self.features if self.group is None else (self.group_feature, *self.features)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the fields of a record or sheet."""
        return tuple(feature.name for feature in self.fields)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the fields that every record or sheet needs."""
        return tuple(feature.name for feature in self.fields if not feature.blank)

    @property
    def matrix_columns(self) -> tuple[str, ...]:
        """Names of the columns of the matrix, in order."""
        return tuple(name for feature in self.features for name in feature.matrix_columns)

    @property
    def coded(self) -> tuple[bool, ...]:
        """For each column of the matrix: True if it holds codes."""
        return tuple(feature.coded for feature in self.matrix_features)

    @property
    def matrix_features(self) -> tuple[Feature, ...]:
        """For each column of the matrix: the feature that it belongs to."""
        return tuple(feature for feature in self.features for _ in feature.matrix_columns)

    @property
    def outputs(self) -> int:
        """Numbers that the model answers with for a row: a class's probability each, or one."""
        return len(self.classes) or 1

    @property
    def group_feature(self) -> Feature:
        """The group as a category, also where there is one alone."""
        return Feature(
            name=self.group or "group",
            type=FeatureType.CATEGORY,
            description="Chooses the model.",
            categories=self.groups,
        )

    def encoder(self) -> dict[str, Any]:
        """Return the published encoding: matrix columns in order, and each category's code.

        Where values may be missing, ``blank`` has what stands in the matrix for them.
        """
        encoded: dict[str, Any] = {
            "columns": list(self.matrix_columns),
            "codes": {
                f.name: {word: code for code, word in enumerate(f.categories)} or f.codes()
                for f in self.features
                if f.coded
            },
        }
        blank = {f.name: list(f.blank_values) for f in self.features if f.blank}
        return {**encoded, "blank": blank} if blank else encoded


def load_schema(path: Path) -> Schema:
    """Read a ``schema.toml``. Raises `ModelRefused` if it is unreadable or inconsistent."""
    try:
        return parse_schema(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ModelRefused(f"{path}: cannot be read: {exc}") from exc
    except ModelRefused as exc:
        raise ModelRefused(f"{path}: {exc.detail}") from exc


def parse_schema(source: Mapping[str, Any]) -> Schema:
    """Build a schema from the tables of a ``schema.toml``, or from the same as JSON.

    Raises:
        ModelRefused: it is inconsistent; names the table and the key, and says what to do.
    """
    from aimq.schema.parsing import schema_of  # noqa: PLC0415 # it builds what is defined here

    return schema_of(source)
