"""What the OpenAPI document says beyond what FastAPI sees by itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from aimq.http.problems import MEDIA_TYPE, SCHEMA
from aimq.schema import Schema
from aimq.schema.jsonschema import record_schema

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

UPDATE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "status": {"enum": ["done", "failed"], "default": "done"},
                        "output": {"type": "string", "description": "All digits."},
                        "error": {"type": "string", "description": "Why it failed."},
                    },
                    "required": ["id"],
                    "additionalProperties": False,
                }
            }
        },
    },
    "parameters": [
        {
            "name": "Authorization",
            "in": "header",
            "required": False,
            "description": "Bearer and the internal token; 401 without.",
            "schema": {"type": "string"},
        }
    ],
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error answers: problem documents (RFC 9457)."""
    content = {MEDIA_TYPE: {"schema": SCHEMA}}
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


def predict_async_path(schema: Schema | None) -> dict[str, Any]:
    """Return the path item of ``POST /predict/async``, whose route FastAPI does not see."""
    record: dict[str, Any] = {"type": "object"} if schema is None else record_schema(schema)
    callback = {
        "type": "string",
        "description": "Where the result is sent once there is one, signed, as a POST of what "
        "/results/{task_id} answers. Needs AIMQ_WEBHOOK_SECRET.",
    }
    asked = {**record, "properties": {**record.get("properties", {}), "callback_url": callback}}
    text = {"type": "string"}
    answer = {
        "type": "object",
        "properties": dict.fromkeys(("task_id", "status", "result_url", "events_url"), text),
        "required": ["task_id", "status", "result_url", "events_url"],
    }
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "The same key gives the same task; with another body: 422.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }
    return {
        "post": {
            "tags": ["tasks"],
            "summary": "Predict one record later, through the queue",
            "operationId": "predict_async",
            "parameters": [key],
            "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
            "responses": {
                "202": {
                    "description": "Accepted: it will not be lost",
                    "content": {"application/json": {"schema": answer}},
                },
                **{str(s): described for s, described in problems(400, 413, 422, 503).items()},
            },
        }
    }


def factorial_path() -> dict[str, Any]:
    """Return the path item of ``GET /factorial``, whose route FastAPI does not see."""
    names = ("request_id", "status", "result_url", "events_url")
    answer = {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": list(names),
    }
    number = {
        "name": "no",
        "in": "query",
        "required": False,
        "description": "A whole number.",
        "schema": {"type": "integer"},
    }
    return {
        "get": {
            "tags": ["factorial"],
            "summary": "Compute later",
            "operationId": "factorial",
            "parameters": [number],
            "responses": {
                "202": {
                    "description": "Accepted: it will not be lost",
                    "content": {"application/json": {"schema": answer}},
                },
                **{str(s): described for s, described in problems(422, 503).items()},
            },
        }
    }
