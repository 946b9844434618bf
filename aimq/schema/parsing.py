"""From the tables of a ``schema.toml`` to a `Schema`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aimq.schema.feature import LARGEST, Feature, FeatureType
from aimq.schema.model import UNGROUPED, Schema, Task
from aimq.schema.toml_table import TomlTable, repeated
from aimq.schema.values import read_date

ROOT_KEYS: Final = ("name", "title", "warn", "group", "target", "features")
TARGET_KEYS: Final = ("name", "task", "prediction", "unit", "minimum", "maximum", "classes")
FEATURE_KEYS: Final = (
    "name", "type", "description", "unit", "minimum", "maximum", "categories", "blank", "fill",
    "example", "other",
)  # fmt: skip
#: Fields of an answer and columns of a result that have these names already.
_RESERVED: Final = frozenset({"model_version", "error", "warning", "probability"})


def schema_of(source: Mapping[str, Any]) -> Schema:
    """Build a schema. Raises `ModelRefused`, naming the table and the key."""
    root = TomlTable("", source, ROOT_KEYS)
    name = root.text("name")
    group, groups = _group(root)
    features = _features(root, groups if group is not None else ())
    target = TomlTable("[target]", root.get("target") or {}, TARGET_KEYS)
    task, classes = _task(target)
    schema = Schema(
        name=name,
        title=root.text("title", name),
        group=group,
        groups=groups,
        features=features,
        target=target.text("name"),
        prediction=target.text("prediction", "prediction"),
        task=task,
        target_unit=target.text("unit", ""),
        target_minimum=target.number("minimum", float("-inf")),
        target_maximum=target.number("maximum", float("inf")),
        classes=classes,
        warn=root.flag("warn"),
        source=source,
    )
    _check_names(root, target, schema)
    return schema


def _group(root: TomlTable) -> tuple[str | None, tuple[str, ...]]:
    if not root.has("group"):
        return None, (UNGROUPED,)
    group = TomlTable("[group]", root.get("group"), ("name", "values"))
    return group.text("name"), group.words("values", group.get("values"))


def _task(target: TomlTable) -> tuple[Task, tuple[str, ...]]:
    name = target.text("task", Task.REGRESSION)
    if name not in list(Task):
        raise target.refused(f'task must be "regression" or "classification", not {name[:60]!r}')
    task = Task(name)
    wrong = ("minimum", "maximum") if task is Task.CLASSIFICATION else ("classes",)
    for key in wrong:
        if target.has(key):
            raise target.refused(f'{key} does not go with task = "{task}": take one of them out')
    if task is Task.REGRESSION:
        if target.number("minimum", float("-inf")) > target.number("maximum", float("inf")):
            raise target.refused("the minimum is over the maximum: exchange them")
        return task, ()
    classes = target.words("classes", target.get("classes"))
    if len(classes) == 1:
        raise target.refused("classes has one class alone: a classification needs two or more")
    return task, classes


def _check_names(root: TomlTable, target: TomlTable, schema: Schema) -> None:
    """Refuse names that stand for two things in a record, in the matrix or in an answer."""
    name = repeated((*schema.columns, schema.target))
    if name is not None:
        raise root.refused(
            f"{name!r} is the name of two columns among group, target and features; case and outer "
            "space do not count: take one of them out"
        )
    column = repeated(schema.matrix_columns)
    if column is not None:
        raise root.refused(f"{column!r} is a column of the matrix twice: rename a feature")
    if schema.prediction in _RESERVED | {schema.group}:
        raise target.refused(f"prediction cannot be {schema.prediction!r}: choose another name")
    if schema.group in _RESERVED:
        raise root.refused(f"[group]: the name cannot be {schema.group!r}: rename the column")


def _features(root: TomlTable, groups: Sequence[str]) -> tuple[Feature, ...]:
    tables = root.get("features")
    if not isinstance(tables, list | tuple) or not tables:
        raise root.refused("add a table [[features]], in double brackets, for each column")
    features = []
    for number, content in enumerate(tables, start=1):
        name = content.get("name") if isinstance(content, dict) else None
        place = f"[[features]] {name!r}" if isinstance(name, str) else f"[[features]] no. {number}"
        features.append(_feature(TomlTable(place, content, FEATURE_KEYS), groups))
    return tuple(features)


def _feature(table: TomlTable, groups: Sequence[str]) -> Feature:
    name, kind = table.text("name"), _type(table)
    categories, by_group = _categories(table, groups) if kind is FeatureType.CATEGORY else ((), {})
    minimum = max(table.number("minimum", -LARGEST), -LARGEST)
    maximum = min(table.number("maximum", LARGEST), LARGEST)
    if not minimum <= maximum:
        raise table.refused("the minimum is over the maximum: exchange them")
    blank = table.flag("blank")
    return Feature(
        name=name,
        type=kind,
        description=table.text("description", ""),
        unit=table.text("unit", ""),
        minimum=minimum,
        maximum=maximum,
        categories=categories,
        by_group=by_group,
        blank=blank,
        fill=_fill(table, kind, minimum, maximum) if blank else None,
        example=_usual(table, "example", kind, minimum, maximum) if table.has("example") else None,
        other=table.flag("other"),
    )


def _type(table: TomlTable) -> FeatureType:
    """Return the type; refuse keys that it does not take."""
    name = table.text("type")
    if name not in list(FeatureType):
        raise table.refused(f"type must be one of {', '.join(FeatureType)}, not {name[:60]!r}")
    kind = FeatureType(name)
    numeric = kind in {FeatureType.NUMBER, FeatureType.INTEGER}
    category = kind is FeatureType.CATEGORY
    usual = numeric or kind is FeatureType.DATE
    taken = {
        "minimum": numeric, "maximum": numeric, "categories": category, "other": category,
        "fill": usual and table.flag("blank"), "example": usual,
    }  # fmt: skip
    for key, fits in taken.items():
        if table.has(key) and not fits:
            without = " without blank = true" if key == "fill" and not table.flag("blank") else ""
            raise table.refused(f'{key} does not go with type = "{kind}"{without}: take it out')
    return kind


def _categories(
    table: TomlTable, groups: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    given = table.get("categories")
    if not isinstance(given, dict):
        return table.words("categories", given), {}
    if set(given) != set(groups):
        raise table.refused(
            f"categories by group must name each group once: {', '.join(groups) or 'no [group]'}"
        )
    by_group = {name: table.words(f"categories of {name}", given[name]) for name in groups}
    every = dict.fromkeys(word for name in groups for word in by_group[name])
    return table.words("categories", list(every)), by_group


def _fill(
    table: TomlTable, kind: FeatureType, minimum: float, maximum: float
) -> float | dt.date | None:
    """Return what stands for a missing value."""
    if kind in {FeatureType.CATEGORY, FeatureType.BOOLEAN}:
        return None
    if table.get("fill") is None:
        raise table.refused("blank = true needs fill = …, such as the middle value of the column")
    return _usual(table, "fill", kind, minimum, maximum)


def _usual(
    table: TomlTable, key: str, kind: FeatureType, minimum: float, maximum: float
) -> float | dt.date:
    """Return a number or a date that the feature can have."""
    given = table.get(key)
    if kind is FeatureType.DATE:
        day = read_date(given)
        if day is None:
            raise table.refused(f"{key} must be a date such as 2024-05-31, not {str(given)[:60]!r}")
        return day
    number = table.number(key, 0)
    if not minimum <= number <= maximum:
        raise table.refused(f"{key} must lie between the minimum and the maximum")
    if kind is FeatureType.INTEGER and not number.is_integer():
        raise table.refused(f"{key} must be a whole number, not {number:g}")
    return number
