"""What the OpenAPI document says of records and predictions: the schemas of the models in service.

Routes refer to these components; the schemas may change while the service runs.
"""

from __future__ import annotations

from typing import Any, Final

from aimq.schema.jsonschema import answer_schema, record_schema
from interface.schema_cache import SchemaCache

RECORD: Final = {"$ref": "#/components/schemas/Record"}
PREDICTION: Final = {"$ref": "#/components/schemas/Prediction"}
#: Of any model.
ANY_RECORD: Final = {"$ref": "#/components/schemas/AnyRecord"}
ANY_PREDICTION: Final = {"$ref": "#/components/schemas/AnyPrediction"}
_OBJECT: Final = {"type": "object"}


def json_body(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what documents a JSON request body on a route (``openapi_extra``)."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def components(models: SchemaCache) -> dict[str, Any]:
    """Return the components by name; any object while a schema is not known.

    ``Record`` and ``Prediction`` are the default model's.
    """
    default = models.default
    known = [model.schema for model in models.known]
    return {
        "Record": record_schema(default.schema) if default else _OBJECT,
        "Prediction": answer_schema(default.schema) if default else _OBJECT,
        "AnyRecord": {"anyOf": [record_schema(schema) for schema in known] or [_OBJECT]},
        "AnyPrediction": {"anyOf": [answer_schema(schema) for schema in known] or [_OBJECT]},
    }
