"""What the routes say of their bodies and answers beyond what the framework sees.

Records and predictions are named here, and described by the version in service (`schemas`).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec

from aimq.http import problems
from aimq.schema.jsonschema import answer_schema, record_schema
from aimq.schema.model import Schema
from ml_service.models import CanaryShare, Reload
from ml_service.predict import ARROW, JSON
from ml_service.simulated_model import FactorialRequest
from ml_service.v2_tensors import InferRequest, InferResponse

Document = dict[str, Any]

V2_TAG: Final = "open inference protocol"
_NAMED: Final = "#/components/schemas/{name}"
_RECORD, _PREDICTION, _FAILED, _V2_ERROR = (
    {"$ref": _NAMED.format(name=name)} for name in ("Record", "Prediction", "Failed", "V2Error")
)
_STREAM: Final = {"schema": {"type": "string", "format": "binary"}}

PREDICT: Final[Document] = {
    "tags": ["predictions"],
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"oneOf": [_RECORD, {"type": "array", "items": _RECORD}]}},
                ARROW: _STREAM,
            },
        }
    },
    "responses": {
        200: {
            "description": "A prediction; a list with one answer each; or an Arrow stream.",
            "headers": {
                "X-Served-By": {
                    "description": "The runtimes that answered.",
                    "schema": {"type": "string"},
                }
            },
            "content": {
                JSON: {
                    "schema": {
                        "oneOf": [
                            _PREDICTION,
                            {"type": "array", "items": {"anyOf": [_PREDICTION, _FAILED]}},
                        ]
                    }
                },
                ARROW: _STREAM,
            },
        },
        **problems.documented(400, 401, 408, 413, 415, 422, 429, 503, 504),
    },
}


def v2_errors(*statuses: int) -> dict[int | str, Document]:
    """Return error answers of the Open Inference Protocol as a route's `responses`."""
    content = {JSON: {"schema": _V2_ERROR}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


PREDICT_PICKLE: Final[Document] = {
    **PREDICT,
    "responses": {**PREDICT["responses"], **problems.documented(501)},
}
_ANY: Final = {"type": "object"}
PREDICT_BY_NAME: Final[Document] = {
    "tags": ["predictions"],
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"oneOf": [_ANY, {"type": "array", "items": _ANY}]}},
                ARROW: _STREAM,
            },
        }
    },
    "responses": {
        200: {
            "description": "As of `/predict/onnx`; `GET /models/{name}/schema` describes both.",
            "headers": PREDICT["responses"][200]["headers"],
            "content": {
                JSON: {"schema": {"oneOf": [_ANY, {"type": "array", "items": _ANY}]}},
                ARROW: _STREAM,
            },
        },
        **problems.documented(400, 401, 404, 408, 413, 415, 422, 429, 503, 504),
    },
}
INFER: Final[Document] = {
    "tags": [V2_TAG],
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": _NAMED.format(name="InferRequest")}}},
        }
    },
    "responses": {
        200: {
            "description": "Predictions.",
            "content": {JSON: {"schema": {"$ref": _NAMED.format(name="InferResponse")}}},
        },
        **v2_errors(400, 404, 408, 413, 429, 503, 504),
        **problems.documented(401),
    },
}


def schemas(schema: Schema | None) -> Document:
    """Return the named schemas.

    Args:
        schema: of the version in service; None while there is none.
    """
    bodies = (InferRequest, InferResponse, Reload, CanaryShare, FactorialRequest)
    _, described = msgspec.json.schema_components(bodies, ref_template=_NAMED)
    errors = {"type": "array", "items": {"type": "object"}}
    return {
        **described,
        "Record": record_schema(schema) if schema else {"type": "object"},
        "Prediction": answer_schema(schema) if schema else {"type": "object"},
        "Failed": {
            "type": "object",
            "required": ["error", "errors"],
            "properties": {"error": {"type": "string"}, "errors": errors},
        },
        "V2Error": {"type": "object", "properties": {"error": {"type": "string"}}},
    }
