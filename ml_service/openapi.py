"""The OpenAPI document of the routes that the framework does not route itself."""

from __future__ import annotations

import re
from typing import Any, Final

from aimq.schema.jsonschema import record_schema
from aimq.schema.model import Schema
from ml_service.bodies import ARROW, JSON
from ml_service.version import Version

Document = dict[str, Any]

_PROBLEM: Final = "#/components/schemas/Problem"
_WHEN: Final = {
    "400": "Not JSON, or not an Arrow stream.",
    "401": "An API key is needed.",
    "404": "No such model or version.",
    "409": "The version cannot be served; the one in service stays.",
    "413": "The body is over the limit.",
    "415": "Neither JSON nor an Arrow stream.",
    "422": "A field is wrong or missing, or the group has no model; `errors` names each.",
    "429": "Asked too often; `Retry-After` and `RateLimit-*` say when to try again.",
    "503": "Overloaded, or no model is served yet; try again after `Retry-After`.",
    "504": "The runtime did not answer in time.",
}
_PREDICTION: Final = ("400", "401", "413", "415", "422", "429", "503", "504")


def problems(*statuses: str) -> dict[int | str, Document]:
    """Return the responses for errors, those of a prediction by default."""
    content = {"application/problem+json": {"schema": {"$ref": _PROBLEM}}}
    chosen = statuses or _PREDICTION
    return {status: {"description": _WHEN[status], "content": content} for status in chosen}


def predict_operation(way: str, summary: str, version: Version | None) -> Document:
    """Return the operation ``POST /predict/<way>`` for the records of the version in service."""
    record: Document = record_schema(version.schema) if version else {"type": "object"}
    answer = _answer(version.schema) if version else {"type": "object"}
    failed = {
        "type": "object",
        "required": ["error", "errors"],
        "properties": {
            "error": {"type": "string"},
            "errors": {"type": "array", "items": {"type": "object"}},
        },
    }
    answers = {"type": "array", "items": {"anyOf": [answer, failed]}}
    stream = {"schema": {"type": "string", "format": "binary"}}
    body = {"schema": {"oneOf": [record, {"type": "array", "items": record}]}}
    if version:
        body["example"] = record["example"]
    return {
        "operationId": f"predict_{way}",
        "summary": summary,
        "tags": ["predictions"],
        "requestBody": {"required": True, "content": {JSON: body, ARROW: stream}},
        "responses": {
            "200": {
                "description": "A prediction; a list with one answer each; or an Arrow stream.",
                "headers": {
                    "X-Served-By": {
                        "description": "The runtime that answered.",
                        "schema": {"type": "string"},
                    }
                },
                "content": {JSON: {"schema": {"oneOf": [answer, answers]}}, ARROW: stream},
            },
            **problems(),
        },
    }


def infer_operation(path: str) -> Document:
    """Return the operation of the Open Inference Protocol that predicts."""
    parts = re.findall(r"{(\w+)}", path)
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "data": {"type": "array", "items": {}},
        },
    }
    tensors = {"type": "array", "items": tensor}
    request = {"type": "object", "required": ["inputs"], "properties": {"inputs": tensors}}
    answer = {"type": "object", "required": ["outputs"], "properties": {"outputs": tensors}}
    error = {"type": "object", "properties": {"error": {"type": "string"}}}
    failed = {"content": {JSON: {"schema": error}}}
    statuses = ("400", "401", "404", "413", "429", "503", "504")
    return {
        "operationId": "infer_" + "_".join(parts),
        "summary": "Predict: a tensor for each field of a record",
        "tags": ["open inference protocol"],
        "parameters": [
            {"name": part, "in": "path", "required": True, "schema": {"type": "string"}}
            for part in parts
        ],
        "requestBody": {"required": True, "content": {JSON: {"schema": request}}},
        "responses": {
            "200": {"description": "Predictions.", "content": {JSON: {"schema": answer}}},
            **{status: {"description": _WHEN[status], **failed} for status in statuses},
        },
    }


def _answer(schema: Schema) -> Document:
    return {
        "type": "object",
        "required": [schema.prediction, schema.group, "model_version"],
        "properties": {
            schema.prediction: {"type": "number", "description": schema.target_unit},
            schema.group: {"type": "string", "enum": list(schema.groups)},
            "model_version": {"type": "string"},
        },
    }
