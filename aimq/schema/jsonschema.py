"""A schema as JSON Schema: for the OpenAPI documents and the form on the page."""

from __future__ import annotations

from typing import Any

from aimq.schema.feature import LARGEST, Feature, FeatureType, category_number
from aimq.schema.model import Schema, Task


def record_schema(schema: Schema) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one record, with an example that is valid."""
    return {
        "title": schema.title,
        "type": "object",
        "properties": {feature.name: _property(feature) for feature in schema.fields},
        "required": list(schema.required),
        "example": example(schema),
    }


def answer_schema(schema: Schema) -> dict[str, Any]:
    """Return the JSON Schema of the answer to one record, with those that it has at times."""
    if schema.task is Task.CLASSIFICATION:
        predicted: dict[str, Any] = {
            schema.prediction: {"type": "string", "enum": list(schema.classes)},
            "probability": {"type": "number", "minimum": 0, "maximum": 1},
        }
        optional = {}
    else:
        predicted = {schema.prediction: {"type": "number", "description": schema.target_unit}}
        bounds = (f"{schema.prediction}_low", f"{schema.prediction}_high")
        optional = {name: {"type": "number", "description": "With ?interval="} for name in bounds}
    if schema.group is not None:
        predicted[schema.group] = {"type": "string", "enum": list(schema.groups)}
    predicted["model_version"] = {"type": "string"}
    if schema.warn:
        optional["warning"] = {"type": "string"}
    return {
        "type": "object",
        "required": list(predicted),
        "properties": {**predicted, **optional},
    }


def example(schema: Schema) -> dict[str, Any]:
    """Return a valid record of the first group."""
    group = schema.groups[0]
    first = {} if schema.group is None else {schema.group: group}
    return {**first, **{feature.name: _typical(feature, group) for feature in schema.features}}


def _typical(feature: Feature, group: str) -> object:
    """Return a value that is valid; of numbers without an example one low in the range."""
    usual = feature.fill if feature.example is None else feature.example
    if feature.type is FeatureType.CATEGORY:
        return feature.categories_of(group)[0]
    if feature.type is FeatureType.BOOLEAN:
        return True
    if feature.type is FeatureType.DATE:
        return "2024-05-31" if usual is None else str(usual)
    if isinstance(usual, float | int):
        return int(usual) if float(usual).is_integer() else usual
    low, high = max(feature.minimum, -1e6), min(feature.maximum, 1e6)
    number = low + (high - low) / 4
    return int(number) if low <= int(number) <= high else number


def _property(feature: Feature) -> dict[str, Any]:
    unit = f" ({feature.unit})" if feature.unit else ""
    described = {"description": feature.description + unit, **_values(feature)}
    if not feature.blank:
        return described
    kinds = described["type"]
    described["type"] = [*([kinds] if isinstance(kinds, str) else kinds), "null"]
    if "enum" in described:
        described["enum"] = [*described["enum"], None]
    return described


def _values(feature: Feature) -> dict[str, Any]:
    if feature.type is FeatureType.CATEGORY:
        return _categories(feature)
    if feature.type is FeatureType.BOOLEAN:
        return {"type": "boolean"}
    if feature.type is FeatureType.DATE:
        return {"type": "string", "format": "date"}
    limits = {"minimum": feature.minimum, "maximum": feature.maximum}
    bounds = {name: limit for name, limit in limits.items() if abs(limit) < LARGEST}
    return {"type": str(feature.type), **bounds}


def _categories(feature: Feature) -> dict[str, Any]:
    """Every category as text, then as a number those whose name is one."""
    found = [category_number(category) for category in feature.categories]
    numbers = [number for number in found if number is not None]
    if feature.other:
        return {"type": ["string", "number"], "examples": list(feature.categories)}
    kinds = ["string", "number"] if numbers else "string"
    return {"type": kinds, "enum": [*feature.categories, *numbers]}
