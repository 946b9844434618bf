"""Asynchronous predictions: a record is checked, stored and queued; its result is fetched later."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec
from fastapi import APIRouter
from fastapi.responses import Response
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from aimq import telemetry
from aimq.broker.topology import TASKS
from aimq.errors import AimqError, ClientError, FieldError, Invalid, NotFound, TransientError
from aimq.http import problems as problem_documents
from aimq.jobs.answer import answer
from aimq.jobs.job import Job
from aimq.messages import Kind
from aimq.schema.records import RecordEncoder
from interface import comeback, idempotency, jobs
from interface.context import Context
from interface.event_stream import EventStream
from interface.openapi import problems
from interface.predictions import Disconnected, read_body

PATH: Final = "/predict/async"
#: Beside the fields of the record: where its result is to be sent.
CALLBACK: Final = "callback_url"
_decoder: Final = msgspec.json.Decoder()
_encoder: Final = msgspec.json.Encoder(order="deterministic")


class PredictAsync:
    """The ASGI application of ``POST /predict/async``. Belongs to one event loop.

    The record is checked here against the schema of the model in service, so that a mistake is
    told at once; while the ML service was never seen, any object is taken and the worker judges.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._max_body = context.settings.max_body_kb * 1024
        self._encoder: RecordEncoder | None = None
        self._encodes: object = None
        outcomes = context.metrics.tasks
        self._accepted = outcomes.labels(Kind.PREDICTION, "accepted")
        self._refused = outcomes.labels(Kind.PREDICTION, "refused")
        self._unavailable = outcomes.labels(Kind.PREDICTION, "unavailable")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            job = await self._accept(scope, receive)
        except Disconnected:
            return
        except AimqError as exc:
            if isinstance(exc, TransientError):
                self._unavailable.inc()
            else:
                self._refused.inc()
            await problem_documents.response(comeback.timed(exc))(scope, receive, send)
            return
        self._accepted.inc()
        await _accepted(scope, job)(scope, receive, send)

    async def _accept(self, scope: Scope, receive: Receive) -> Job:
        headers = Headers(scope=scope)
        key = idempotency.storage_key(headers, PATH)
        record = _record(await read_body(receive, self._max_body))
        callback_url = self._callback_url(record)
        self._check(record)
        self._context.backlog.admit(TASKS)
        job = Job(
            kind=Kind.PREDICTION,
            input=_encoder.encode(record),
            callback_url=callback_url,
            traceparent=telemetry.continue_trace(headers.get("traceparent")),
        )
        made = await self._context.recorder.record(job, key)
        if made.job_id != job.job_id:
            idempotency.refuse_another_payload(job, made)
        return made

    def _callback_url(self, record: dict[str, Any]) -> str:
        schema = self._context.schema.schema
        if schema is not None and any(f.name == CALLBACK for f in schema.features):
            return ""  # the model's own field
        url = record.pop(CALLBACK, None)
        return "" if url is None else self._context.callbacks.checked(url)

    def _check(self, record: object) -> None:
        schema = self._context.schema.schema
        if schema is None:
            return
        if self._encoder is None or self._encodes is not schema:
            self._encoder, self._encodes = RecordEncoder(schema), schema
        self._encoder.encode(record)


def _record(body: bytes) -> dict[str, Any]:
    try:
        record = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ClientError(f"The body cannot be read as JSON: {str(exc)[:200]}") from None
    if not isinstance(record, dict):
        raise Invalid(
            "One record is taken, as a JSON object; many go in a spreadsheet.",
            errors=[FieldError(field="body", message="is not a JSON object")],
        )
    return record


def _accepted(scope: Scope, job: Job) -> Response:
    url = f"{scope.get('root_path', '')}/results/{job.job_id}"
    body = {
        "task_id": job.job_id,
        "status": str(job.status),
        "result_url": url,
        "events_url": f"{url}/events",
    }
    return Response(
        msgspec.json.encode(body), 202, headers={"Location": url}, media_type="application/json"
    )


def router(context: Context) -> APIRouter:
    """Return the routes under ``/results``."""
    routes = APIRouter(tags=["tasks"])

    @routes.get("/results/{task_id}", summary="A task's result", responses=problems(404, 503))
    async def result(task_id: str) -> Response:
        job = await find(context, task_id)
        return Response(
            answer(job), media_type="application/json", headers={"Cache-Control": "no-store"}
        )

    return routes


def stream(context: Context) -> EventStream:
    """Return what answers the WebSockets under ``/results``."""
    return EventStream(context.events, partial(find, context), answer)


async def find(context: Context, task_id: str) -> Job:
    """Return a task. Raises `NotFound` for an unknown, malformed or expired id, and other jobs."""
    try:
        job = await jobs.find(context, task_id)
    except NotFound:
        raise NotFound("No task has this id; it may have expired or been deleted.") from None
    if job.kind not in {Kind.PREDICTION, Kind.FACTORIAL}:
        raise NotFound(f"This job has no result here; look at /jobs/{job.job_id}.")
    return job
