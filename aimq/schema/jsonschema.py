"""A schema as JSON Schema: for the OpenAPI documents and the form on the page."""

from __future__ import annotations

from typing import Any

from aimq.schema.model import LARGEST, Feature, Schema, category_number


def record_schema(schema: Schema) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one record, with an example that is valid."""
    fields = (schema.group_feature, *schema.features)
    return {
        "title": schema.title,
        "type": "object",
        "properties": {field.name: _property(field) for field in fields},
        "required": list(schema.columns),
        "example": example(schema),
    }


def example(schema: Schema) -> dict[str, Any]:
    """Return a valid record of the first group."""
    group = schema.groups[0]
    record: dict[str, Any] = {schema.group: group}
    for feature in schema.features:
        first = _low(feature) if feature.numeric else feature.categories_of(group)[0]
        record[feature.name] = first
    return record


def _property(feature: Feature) -> dict[str, Any]:
    unit = f" ({feature.unit})" if feature.unit else ""
    described: dict[str, Any] = {"description": feature.description + unit}
    if not feature.numeric:
        return {**_categories(feature), **described}
    described["type"] = str(feature.type)
    bounds = {"minimum": feature.minimum, "maximum": feature.maximum}
    described.update({name: bound for name, bound in bounds.items() if abs(bound) < LARGEST})
    return described


def _categories(feature: Feature) -> dict[str, Any]:
    """Every category as text, then as a number those whose name is one."""
    found = [category_number(category) for category in feature.categories]
    numbers = [number for number in found if number is not None]
    kinds = ["string", "number"] if numbers else "string"
    return {"type": kinds, "enum": [*feature.categories, *numbers]}


def _low(feature: Feature) -> int:
    """A number in the lower part of the feature's range."""
    low = max(feature.minimum, -1e6)
    high = min(feature.maximum, 1e6)
    return int(low + (high - low) / 4)
