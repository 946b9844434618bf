"""Asynchronous predictions: a record is checked, stored and queued; its result is fetched later."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.routing import WebSocketRoute

from aimq import telemetry
from aimq.broker.topology import TASKS
from aimq.errors import FieldError, Invalid, NotFound
from aimq.http.bodies import decode_json, read_body
from aimq.http.problems import documented
from aimq.jobs.answer import answer
from aimq.jobs.job import Job
from aimq.messages import Kind
from interface import callback_urls, idempotency, jobs
from interface.context import Context
from interface.event_stream import EventStream
from interface.metrics import counted
from interface.models import ModelName, find_model
from interface.predictions import MAX_RECORD_BYTES
from interface.record_schemas import ANY_RECORD, json_body
from interface.schema_cache import KnownModel

_PATH: Final = "/predict/async"
_encoder: Final = msgspec.json.Encoder(order="deterministic")
_CALLBACK: Final = {
    "type": "string",
    "description": "Where the result is sent once there is one, signed, as a POST of what "
    "/results/{task_id} answers. Needs AIMQ_WEBHOOK_SECRET.",
}
_BODY: Final = {
    "allOf": [ANY_RECORD, {"type": "object", "properties": {callback_urls.FIELD: _CALLBACK}}]
}
_KEY: Final = {
    "name": idempotency.HEADER,
    "in": "header",
    "required": False,
    "description": "The same key gives the same task; with another body: 422.",
    "schema": {"type": "string", "minLength": 1, "maxLength": idempotency.MAX_LENGTH},
}


class TaskAccepted(BaseModel):
    """The answer to a task: it will not be lost."""

    task_id: str
    status: str
    result_url: str
    events_url: str


def router(context: Context) -> APIRouter:
    """Return the route that takes tasks, and those under ``/results``."""
    routes = APIRouter(tags=["tasks"])

    @routes.post(
        _PATH,
        status_code=202,
        summary="Predict one record later, through the queue",
        responses=documented(400, 404, 408, 413, 422, 503),
        openapi_extra={**json_body(_BODY), "parameters": [_KEY]},
    )
    async def predict_async(
        request: Request, response: Response, model: ModelName = ""
    ) -> TaskAccepted:
        with counted(context.metrics.tasks, Kind.PREDICTION):
            job = await _accept(context, request, model)
        url = f"{request.scope.get('root_path', '')}/results/{job.job_id}"
        response.headers["Location"] = url
        return TaskAccepted(
            task_id=job.job_id, status=job.status, result_url=url, events_url=f"{url}/events"
        )

    @routes.get("/results/{task_id}", summary="A task's result", responses=documented(404, 503))
    async def result(task_id: str) -> Response:
        job = await _find(context, task_id)
        return Response(
            answer(job), media_type="application/json", headers={"Cache-Control": "no-store"}
        )

    events = EventStream(context.events, partial(_find, context), answer)
    routes.routes.append(WebSocketRoute("/results/{job_id}/events", events))
    return routes


async def _accept(context: Context, request: Request, model: str) -> Job:
    """Check the record against the schema of its model, then store and queue it.

    Before the ML service was seen for the first time, any object is taken and the worker checks it.
    """
    key = idempotency.storage_key(request.headers, _PATH)
    record = decode_json(await read_body(request.scope, request.receive, MAX_RECORD_BYTES))
    if not isinstance(record, dict):
        raise Invalid(
            "One record is taken, as a JSON object; many go in a spreadsheet.",
            errors=[FieldError(field="body", message="is not a JSON object")],
        )
    known = await find_model(context, model) if model else context.schema.default
    callback_url = _callback_url(context, record, known)
    record = _known_fields(record, known)
    context.queues.admit(TASKS)
    job = Job(
        kind=Kind.PREDICTION,
        model=model,
        input=_encoder.encode(record),
        callback_url=callback_url,
        traceparent=telemetry.continue_trace(request.headers.get("traceparent")),
    )
    made = await context.writer.write(job, key)
    if made.job_id != job.job_id:
        idempotency.refuse_another_payload(job, made)
    return made


def _callback_url(context: Context, record: dict[str, Any], known: KnownModel | None) -> str:
    """Take the callback URL out of the record, unless the model has a field of that name."""
    if known is not None and callback_urls.FIELD in known.schema.columns:
        return ""
    url = record.pop(callback_urls.FIELD, None)
    return "" if url is None else context.callback_urls.checked(url)


def _known_fields(record: dict[str, Any], known: KnownModel | None) -> dict[str, Any]:
    """Return the fields that the model knows. Raises `Invalid` when they are wrong."""
    if known is None:
        return record
    known.encoder.encode(record)
    return {name: record[name] for name in known.schema.columns if name in record}


async def _find(context: Context, task_id: str) -> Job:
    """Return a task. Raises `NotFound` for an unknown, malformed or expired id, and other jobs."""
    try:
        job = await jobs.find(context, task_id)
    except NotFound:
        raise NotFound("No task has this id; it may have expired or been deleted.") from None
    if job.kind not in {Kind.PREDICTION, Kind.FACTORIAL}:
        raise NotFound(f"This job has no result here; look at /jobs/{job.job_id}.")
    return job
