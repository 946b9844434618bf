"""``POST /factorial/update``: results of workers that cannot reach the job store.

Our own workers report through the store. A worker elsewhere takes messages from the queue and
reports here, with the internal token.
"""

from __future__ import annotations

import io
import math
from typing import Final, Literal

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aimq.errors import Conflict, FieldError, Invalid, NotFound, Unauthorized
from aimq.factorial import preview
from aimq.files.keys import new_result_key
from aimq.http.bodies import read_body
from aimq.http.credentials import Caller
from aimq.http.guard import caller_of
from aimq.http.problems import documented
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, Outcome, Refusal, Refused
from interface.context import Context
from interface.factorials import find
from interface.record_schemas import json_body
from interface.responses import json_response

#: A claim for as long as it takes to write what is reported, in seconds.
_LEASE_SECONDS: Final = 10.0
#: Longest result in the job's record, in digits (bytes); longer ones lie in a file.
_INLINE: Final = 64 * 1024
#: What a report may have beside the digits, in bytes.
_OVERHEAD: Final = 64 * 1024
_MAX_ERROR: Final = 2_000
_AUTHORIZATION: Final = {
    "name": "Authorization",
    "in": "header",
    "required": False,
    "description": "Bearer and the internal token; 401 without.",
    "schema": {"type": "string"},
}


class FactorialReport(BaseModel):
    """A result, or why there is none."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    status: Literal["done", "failed"] = "done"
    output: str = Field("", description="All digits.", pattern="^[0-9]*$")
    error: str = Field("", description="Why it failed.", max_length=_MAX_ERROR)


def router(context: Context) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["factorial"])

    @routes.post(
        "/factorial/update",
        summary="Report a result (workers with the internal token)",
        responses=documented(400, 401, 404, 408, 409, 413, 422, 503),
        openapi_extra={
            **json_body(FactorialReport.model_json_schema()),
            "parameters": [_AUTHORIZATION],
        },
    )
    async def update(request: Request) -> Response:
        if caller_of(request.scope) is not Caller.INTERNAL:
            raise Unauthorized(
                "Only workers may report: send Authorization: Bearer <internal token>."
            )
        report = await _read(context, request)
        job = await find(context, report.id)
        await context.threads.run(_store, context, job, report)
        return json_response({"id": job.job_id, "status": report.status})

    return routes


async def _read(context: Context, request: Request) -> FactorialReport:
    digits = math.lgamma(context.settings.factorial_max + 1) / math.log(10)
    body = await read_body(request.scope, request.receive, int(digits) + _OVERHEAD)
    try:
        report = FactorialReport.model_validate_json(body)
    except ValidationError as exc:
        first = exc.errors()[0]
        raise _invalid(".".join(map(str, first["loc"])) or "body", first["msg"]) from None
    needed = "output" if report.status == "done" else "error"
    if not getattr(report, needed):
        raise _invalid(needed, f"is needed: the status is {report.status}")
    return report


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(
        f"The report is wrong: {field}: {message[:200]}. Send {{id, output}} or "
        '{id, status: "failed", error}.',
        errors=[FieldError(field=field, message=message[:200])],
    )


def _store(context: Context, job: Job, report: FactorialReport) -> None:
    """End the job as a worker of ours does: claim, file, outcome. Blocks."""
    claim = _claim(context, job)
    if report.status == "done":
        outcome = _done(context, claim, report.output)
    else:
        outcome = Outcome(claim=claim, status=Status.FAILED, error=report.error)
    if context.store.settle([outcome]) != [True]:
        raise Conflict("Nothing was changed: the factorial was cancelled meanwhile.")


def _claim(context: Context, job: Job) -> Claim:
    (claim,) = context.store.claim([job.job_id], "factorial-update", _LEASE_SECONDS)
    if not isinstance(claim, Refused):
        return claim
    if claim.reason is Refusal.UNKNOWN:
        raise NotFound("The factorial has been deleted.")
    why = "finished or cancelled" if claim.reason is Refusal.FINAL else "held by another worker"
    raise Conflict(f"Nothing was changed: the factorial is {why}.")


def _done(context: Context, claim: Claim, text: str) -> Outcome:
    result: dict[str, object] = {"digits": len(text), "preview": preview(text)}
    key = ""
    if len(text) <= _INLINE:
        result["output"] = text
    else:
        key = new_result_key(claim)
        context.files.put(key, io.BytesIO(text.encode("ascii")))
    return Outcome(
        claim=claim, status=Status.DONE, result=msgspec.json.encode(result), result_key=key
    )
