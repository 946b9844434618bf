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
    values = {f.name: _low(f) if f.numeric else f.categories_of(group)[0] for f in schema.features}
    return {schema.group: group, **values}


def _low(feature: Feature) -> int:
    """A number in the lower part of the feature's range."""
    low, high = max(feature.minimum, -1e6), min(feature.maximum, 1e6)
    return int(low + (high - low) / 4)


def _property(feature: Feature) -> dict[str, Any]:
    unit = f" ({feature.unit})" if feature.unit else ""
    described = {"description": feature.description + unit}
    if not feature.numeric:
        return {**described, **_categories(feature)}
    limits = {"minimum": feature.minimum, "maximum": feature.maximum}
    bounds = {name: limit for name, limit in limits.items() if abs(limit) < LARGEST}
    return {**described, "type": str(feature.type), **bounds}


def _categories(feature: Feature) -> dict[str, Any]:
    """Every category as text, then as a number those whose name is one."""
    found = [category_number(category) for category in feature.categories]
    numbers = [number for number in found if number is not None]
    kinds = ["string", "number"] if numbers else "string"
    return {"type": kinds, "enum": [*feature.categories, *numbers]}
