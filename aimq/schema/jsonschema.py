"""A schema as JSON Schema: for the OpenAPI documents and the form on the page."""

from __future__ import annotations

from typing import Any

from aimq.schema.model import LARGEST, Feature, Schema


def record_schema(schema: Schema) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one record, with an example that is valid."""
    group = {"type": "string", "enum": list(schema.groups), "description": "Chooses the model."}
    properties = {schema.group: group, **{f.name: _property(f) for f in schema.features}}
    return {
        "title": schema.title,
        "type": "object",
        "properties": properties,
        "required": list(schema.columns),
        "example": example(schema),
    }


def example(schema: Schema) -> dict[str, Any]:
    """Return a valid record of the first group."""
    record: dict[str, Any] = {schema.group: schema.groups[0]}
    for feature in schema.features:
        if feature.numeric:
            record[feature.name] = _middle(feature)
        else:
            record[feature.name] = feature.by_group.get(schema.groups[0], feature.categories)[0]
    return record


def _property(feature: Feature) -> dict[str, Any]:
    unit = f" ({feature.unit})" if feature.unit else ""
    described: dict[str, Any] = {"description": feature.description + unit}
    if not feature.numeric:
        return {"type": "string", "enum": list(feature.categories), **described}
    described["type"] = str(feature.type)
    bounds = {"minimum": feature.minimum, "maximum": feature.maximum}
    described.update({name: bound for name, bound in bounds.items() if abs(bound) < LARGEST})
    return described


def _middle(feature: Feature) -> int:
    low = max(feature.minimum, -1e6)
    high = min(feature.maximum, 1e6)
    return int(low + (high - low) / 4)
