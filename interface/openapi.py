"""What the OpenAPI document says beyond what FastAPI sees by itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from aimq.http.problems import MEDIA_TYPE
from aimq.schema import Schema
from aimq.schema.jsonschema import record_schema

_PROBLEM: Final = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["type", "title", "status", "detail"],
}

UPLOAD: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            }
        },
    }
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error answers: problem documents (RFC 9457)."""
    content = {MEDIA_TYPE: {"schema": _PROBLEM}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in statuses
    }


def predict_path(schema: Schema | None) -> dict[str, Any]:
    """Return the path item of ``POST /predict``, whose route FastAPI does not see.

    Args:
        schema: describes the record; None while it is not known.
    """
    record = {"type": "object"} if schema is None else record_schema(schema)
    prediction = "predicted_price" if schema is None else schema.prediction
    answer = {
        "type": "object",
        "properties": {
            prediction: {"type": "number"},
            "model_group": {"type": "string"},
            "model_version": {"type": "string"},
        },
        "required": [prediction, "model_group", "model_version"],
    }
    errors = problems(400, 413, 415, 422, 429, 503, 504)
    return {
        "post": {
            "tags": ["predictions"],
            "summary": "Predict one record at once, without the queue",
            "operationId": "predict",
            "requestBody": {"required": True, "content": {"application/json": {"schema": record}}},
            "responses": {
                "200": {
                    "description": "The prediction",
                    "content": {"application/json": {"schema": answer}},
                },
                **{str(status): described for status, described in errors.items()},
            },
        }
    }
