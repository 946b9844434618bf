"""What the OpenAPI document says of records and predictions: the schema of the model in service.

Routes refer to these components; the schema may change while the service runs.
"""

from __future__ import annotations

from typing import Any, Final

from aimq.schema import Schema
from aimq.schema.jsonschema import answer_schema, record_schema

RECORD: Final = {"$ref": "#/components/schemas/Record"}
PREDICTION: Final = {"$ref": "#/components/schemas/Prediction"}


def json_body(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what documents a JSON request body on a route (``openapi_extra``)."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def components(schema: Schema | None) -> dict[str, Any]:
    """Return the components by name; any object while the schema is not known."""
    if schema is None:
        return {"Record": {"type": "object"}, "Prediction": {"type": "object"}}
    return {"Record": record_schema(schema), "Prediction": answer_schema(schema)}
