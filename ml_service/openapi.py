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


def _predict(record: Document, answer: Document, listed: Document, *statuses: int) -> Document:
    """Return what a prediction's route says, by the schemas of a record and of its answers."""

    def content(one: Document, of_list: Document) -> Document:
        either = {"oneOf": [one, {"type": "array", "items": of_list}]}
        return {JSON: {"schema": either}, ARROW: _STREAM}

    served_by = {"description": "The runtimes that answered.", "schema": {"type": "string"}}
    answered = {
        "description": "A prediction; a list with one answer each; or an Arrow stream.",
        "headers": {"X-Served-By": served_by},
        "content": content(answer, listed),
    }
    errors = problems.documented(400, 401, 408, 413, 415, 422, 429, 503, 504, *statuses)
    body = {"required": True, "content": content(record, record)}
    return {
        "tags": ["predictions"],
        "openapi_extra": {"requestBody": body},
        "responses": {200: answered, **errors},
    }


_DEFAULT: Final = (_RECORD, _PREDICTION, {"anyOf": [_PREDICTION, _FAILED]})
_ANY: Final[Document] = {"type": "object"}
PREDICT: Final = _predict(*_DEFAULT)
PREDICT_PICKLE: Final = _predict(*_DEFAULT, 501)
#: Of any model: `GET /models/{name}/schema` has the schemas.
PREDICT_BY_NAME: Final = _predict(_ANY, _ANY, _ANY, 404)


def v2_errors(*statuses: int) -> dict[int | str, Document]:
    """Return error answers of the Open Inference Protocol as a route's `responses`."""
    content = {JSON: {"schema": _V2_ERROR}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
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
