"""The factorial workload over HTTP: asked for at once, fetched when it is done.

Our workers report through the job store, as for every job. ``POST /factorial/update`` is the same
for workers elsewhere, that take messages from the queue and cannot reach the store. ``GET
/factorial/sync`` is what the queue is compared with: the usual endpoint that computes in the
request, as many at once as the batch processor does, and lets everybody else wait.
"""

from __future__ import annotations

import hmac
import io
import math
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from aimq import telemetry
from aimq.broker.topology import FACTORIALS
from aimq.errors import (
    AimqError,
    Conflict,
    FieldError,
    Gone,
    Invalid,
    NotFound,
    TransientError,
    Unauthorized,
)
from aimq.factorial import preview
from aimq.files.keys import digits_key
from aimq.http import problems as problem_documents
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Outcome, Refusal, Refused
from aimq.messages import Kind
from interface import comeback, jobs
from interface.context import Context
from interface.openapi import UPDATE, problems
from interface.predictions import read_body

PATH: Final = "/factorial"
_PROCESSING: Final = frozenset({Status.QUEUED, Status.PROCESSING, Status.RETRYING})
#: A claim for as long as it takes to write what a worker elsewhere reports, in seconds.
_LEASE_SECONDS: Final = 10.0
#: Longest result kept in the job's record, in digits (bytes).
_INLINE: Final = 64 * 1024
_MAX_ERROR: Final = 2_000
_OVERHEAD: Final = 64 * 1024

No = Annotated[
    str | None, Query(description="A whole number.", json_schema_extra={"type": "integer"})
]


class Update(msgspec.Struct, forbid_unknown_fields=True):
    """What a worker reports: a result, or why there is none."""

    id: str
    status: Literal["done", "failed"] = "done"
    output: str = ""
    error: str = ""


class AskFactorial:
    """The ASGI application of ``GET /factorial``. Belongs to one event loop.

    Not one of FastAPI's routes: what comes between is half the cost of a request, and how long a
    hundred clients wait who ask at the same moment.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        outcomes = context.metrics.tasks
        self._accepted = outcomes.labels(Kind.FACTORIAL, "accepted")
        self._refused = outcomes.labels(Kind.FACTORIAL, "refused")
        self._unavailable = outcomes.labels(Kind.FACTORIAL, "unavailable")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            job = await self._ask(scope)
        except AimqError as exc:
            if isinstance(exc, TransientError):
                self._unavailable.inc()
            else:
                self._refused.inc()
            await problem_documents.response(comeback.timed(exc))(scope, receive, send)
            return
        self._accepted.inc()
        await _accepted(scope, job)(scope, receive, send)

    async def _ask(self, scope: Scope) -> Job:
        headers = Headers(scope=scope)
        no = QueryParams(scope["query_string"]).get("no")
        number = _number(no, self._context.settings.factorial_max)
        self._context.backlog.admit(FACTORIALS)
        job = Job(
            kind=Kind.FACTORIAL,
            input=msgspec.json.encode({"no": number}),
            traceparent=telemetry.continue_trace(headers.get("traceparent")),
        )
        return await self._context.recorder.record(job)


def router(context: Context) -> APIRouter:
    """Return the routes under ``/factorial``."""
    routes = APIRouter(tags=["factorial"])

    @routes.get(
        "/factorial/result", summary="A result, exact", responses=problems(404, 410, 422, 503)
    )
    async def result(
        job_id: Annotated[str, Query(alias="id")],
        preview: Annotated[bool, Query(description="Shorten the digits.")] = False,
    ) -> Response:
        return await _result(context, job_id, short=preview)

    @routes.post(
        "/factorial/update",
        summary="Report a result (workers with the internal token)",
        responses=problems(400, 401, 404, 409, 413, 422, 503),
        openapi_extra=UPDATE,
    )
    async def update(
        request: Request, authorization: Annotated[str, Header(include_in_schema=False)] = ""
    ) -> Response:
        _refuse_strangers(context, authorization)
        return await _update(context, await _read_update(context, request))

    @routes.get(
        "/factorial/sync",
        summary="Compute in the request: the synchronous baseline",
        responses=problems(422, 503),
    )
    async def sync(
        no: No = None,
        preview: Annotated[bool, Query(description="Shorten the digits.")] = False,
    ) -> Response:
        number = _number(no, context.settings.factorial_max)
        text = await context.baseline.digits(number)
        return _json(_whole(None, number, text, short=preview))

    return routes


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


def _accepted(scope: Scope, job: Job) -> Response:
    root = scope.get("root_path", "")
    url = f"{root}/factorial/result?id={job.job_id}"
    body = {
        "request_id": job.job_id,
        "status": "processing",
        "result_url": url,
        "events_url": f"{root}/results/{job.job_id}/events",
    }
    return _json(body, 202, {"Location": url})


async def find(context: Context, job_id: str) -> Job:
    """Return a factorial. Raises `NotFound` for any other id."""
    try:
        job = await jobs.find(context, job_id)
    except NotFound:
        job = None
    if job is None or job.kind is not Kind.FACTORIAL:
        raise NotFound("No factorial has this id; it may have expired or been deleted.")
    return job


async def _result(context: Context, job_id: str, *, short: bool) -> Response:
    job = await find(context, job_id)
    no = msgspec.json.decode(job.input)["no"]
    if job.status is not Status.DONE:
        status = "processing" if job.status in _PROCESSING else "failed"
        return _json(
            {"id": job.job_id, "input": no, "status": status, "output": None, "error": job.error}
        )
    result = msgspec.json.decode(job.result)
    text = result["preview"] if short else result.get("output")
    if text is None:
        text = await context.threads.run(_read, context, job.job_id)
    return _json(_whole(job.job_id, no, text, digits=result["digits"]))


def _whole(
    job_id: str | None, no: int, text: str, *, digits: int | None = None, short: bool = False
) -> dict[str, object]:
    return {
        "id": job_id,
        "input": no,
        "status": "done",
        "output": preview(text) if short else text,
        "digits": len(text) if digits is None else digits,
        "error": None,
    }


def _read(context: Context, job_id: str) -> str:
    try:
        with context.files.open(digits_key(job_id)) as file:
            return file.read().decode("ascii")
    except NotFound:
        raise Gone("The result has expired; ask for it again.") from None


def _refuse_strangers(context: Context, authorization: str) -> None:
    """Raise `Unauthorized` unless the internal token was sent. With none set nobody may report."""
    token = context.settings.internal_token
    expected = f"Bearer {token}".encode()
    given = authorization.encode("latin-1", "replace")
    if not (hmac.compare_digest(given, expected) and token):
        raise Unauthorized("Only workers may report: send Authorization: Bearer <internal token>.")


async def _read_update(context: Context, request: Request) -> Update:
    most = context.settings.factorial_max
    longest = int(math.lgamma(most + 1) / math.log(10)) + _OVERHEAD
    body = await read_body(request.receive, longest)
    try:
        update = msgspec.json.decode(body, type=Update)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Invalid(
            f"The report cannot be read: {str(exc)[:200]}. Send {{id, output}} or "
            '{id, status: "failed", error}.',
            errors=[FieldError(field="body", message=str(exc)[:200])],
        ) from None
    problem = None
    if update.status == "done" and not (update.output.isascii() and update.output.isdecimal()):
        problem = FieldError(field="output", message="must be the decimal digits of the result")
    elif update.status == "failed" and not 0 < len(update.error) <= _MAX_ERROR:
        problem = FieldError(field="error", message=f"must be 1 to {_MAX_ERROR:,} characters")
    if problem:
        raise Invalid(f"{problem['field']} {problem['message']}.", errors=[problem])
    return update


async def _update(context: Context, update: Update) -> Response:
    job = await find(context, update.id)
    await context.threads.run(_store, context, job, update)
    return _json({"id": job.job_id, "status": update.status})


def _store(context: Context, job: Job, update: Update) -> None:
    """End the job as a worker of ours would: claim, file, outcome. Blocks."""
    (claim,) = context.store.claim([job.job_id], "factorial-update", _LEASE_SECONDS)
    if isinstance(claim, Refused):
        if claim.reason is Refusal.UNKNOWN:
            raise NotFound("The factorial has been deleted.")
        raise Conflict(
            "Nothing was changed: the factorial is finished or cancelled already."
            if claim.reason is Refusal.FINAL
            else "Nothing was changed: another worker is at it."
        )
    done = update.status == "done"
    outcome = Outcome(
        claim=claim,
        status=Status.DONE if done else Status.FAILED,
        error=None if done else update.error,
        result=_stored(context, job.job_id, update.output) if done else b"",
    )
    if context.store.settle([outcome]) != [True]:
        raise Conflict("Nothing was changed: the factorial was cancelled meanwhile.")


def _stored(context: Context, job_id: str, text: str) -> bytes:
    result: dict[str, object] = {"digits": len(text), "preview": preview(text)}
    if len(text) <= _INLINE:
        result["output"] = text
    else:
        context.files.put(digits_key(job_id), io.BytesIO(text.encode("ascii")))
    return msgspec.json.encode(result)


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401 # whatever is JSON
    return Response(
        msgspec.json.encode(body),
        status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
