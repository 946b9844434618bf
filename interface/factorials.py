"""The factorial workload over HTTP: asked for at once, fetched when it is done.

``GET /factorial/sync`` is what the queue is compared with: the usual endpoint that computes in the
request, as many at once as the batch processor does. All others wait.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from aimq import telemetry
from aimq.broker.topology import FACTORIALS
from aimq.errors import FieldError, Gone, Invalid, NotFound
from aimq.factorial import preview
from aimq.files.keys import result_key
from aimq.http.problems import documented
from aimq.jobs.job import Job, Status
from aimq.messages import Kind
from interface import jobs
from interface.context import Context
from interface.metrics import counted
from interface.responses import json_response

#: GET requests that make work.
COMPUTING: Final = ("/factorial", "/factorial/sync")
_PROCESSING: Final = frozenset({Status.QUEUED, Status.PROCESSING, Status.RETRYING})
_NOT_CACHED: Final = {"Cache-Control": "no-store"}

No = Annotated[
    str | None, Query(description="A whole number.", json_schema_extra={"type": "integer"})
]
Short = Annotated[bool, Query(alias="preview", description="Shorten the digits.")]


class FactorialAccepted(BaseModel):
    """The answer to a factorial: it will not be lost."""

    request_id: str
    status: str = "processing"
    result_url: str
    events_url: str


def router(context: Context) -> APIRouter:
    """Return the routes under ``/factorial`` that clients use."""
    routes = APIRouter(tags=["factorial"])

    @routes.get(
        "/factorial",
        status_code=202,
        summary="Compute later",
        responses=documented(403, 422, 503),
    )
    async def factorial(request: Request, response: Response, no: No = None) -> FactorialAccepted:
        with counted(context.metrics.tasks, Kind.FACTORIAL):
            job = await _accept(context, request, no)
        root = request.scope.get("root_path", "")
        url = f"{root}/factorial/result?id={job.job_id}"
        response.headers.update({"Location": url, **_NOT_CACHED})
        return FactorialAccepted(
            request_id=job.job_id, result_url=url, events_url=f"{root}/results/{job.job_id}/events"
        )

    @routes.get(
        "/factorial/result", summary="A result, exact", responses=documented(404, 410, 422, 503)
    )
    async def result(job_id: Annotated[str, Query(alias="id")], short: Short = False) -> Response:
        job = await find(context, job_id)
        return json_response(await _result(context, job, short=short), _NOT_CACHED)

    @routes.get(
        "/factorial/sync",
        summary="Compute in the request: the synchronous baseline",
        responses=documented(403, 422, 503),
    )
    async def sync(no: No = None, short: Short = False) -> Response:
        number = _number(no, context.settings.factorial_max)
        text = await context.sync_factorial.digits(number)
        shown = preview(text) if short else text
        return json_response(_done(None, number, shown, len(text)), _NOT_CACHED)

    return routes


async def find(context: Context, job_id: str) -> Job:
    """Return a factorial. Raises `NotFound` for any other id."""
    try:
        job = await jobs.find(context, job_id)
    except NotFound:
        job = None
    if job is None or job.kind is not Kind.FACTORIAL:
        raise NotFound("No factorial has this id; it may have expired or been deleted.")
    return job


async def _accept(context: Context, request: Request, no: str | None) -> Job:
    number = _number(no, context.settings.factorial_max)
    context.queues.admit(FACTORIALS)
    job = Job(
        kind=Kind.FACTORIAL,
        input=msgspec.json.encode({"no": number}),
        traceparent=telemetry.continue_trace(request.headers.get("traceparent")),
    )
    return await context.writer.write(job)


def _number(given: str | None, largest: int) -> int:
    """Return `no`. Raises `Invalid`, naming the range."""
    text = given or ""
    if text.isascii() and text.isdecimal():
        digits = text.lstrip("0") or "0"
        if len(digits) <= len(str(largest)) and int(digits) <= largest:
            return int(digits)
    allowed = f"a whole number from 0 to {largest}"
    shown = "is missing" if given is None else f"is not {allowed}"
    raise Invalid(
        f"no {shown}: it must be {allowed}.",
        errors=[FieldError(field="no", message=shown, given=(given or "")[:40], allowed=allowed)],
    )


async def _result(context: Context, job: Job, *, short: bool) -> dict[str, object]:
    no = msgspec.json.decode(job.input)["no"]
    if job.status is not Status.DONE:
        status = "processing" if job.status in _PROCESSING else "failed"
        return {"id": job.job_id, "input": no, "status": status, "output": None, "error": job.error}
    result = msgspec.json.decode(job.result)
    text = result["preview"] if short else result.get("output")
    if text is None:
        text = await context.threads.run(_read, context, result_key(job))
    return _done(job.job_id, no, text, result["digits"])


def _done(job_id: str | None, no: int, output: str, digits: int) -> dict[str, object]:
    return {
        "id": job_id,
        "input": no,
        "status": "done",
        "output": output,
        "digits": digits,
        "error": None,
    }


def _read(context: Context, key: str) -> str:
    try:
        with context.files.open(key) as file:
            return file.read().decode("ascii")
    except NotFound:
        raise Gone("The result has expired; ask for it again.") from None
