"""Jobs over HTTP: list, status, result, deletion, and events over WebSocket."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, BinaryIO, Final

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse
from starlette.routing import WebSocketRoute

from aimq.errors import Conflict, FieldError, Gone, NotFound
from aimq.files.keys import result_key
from aimq.files.removal import remove_files
from aimq.http.problems import documented
from aimq.jobs.job import Job, Status
from aimq.messages import Kind
from interface.context import Context
from interface.event_stream import EventStream
from interface.filenames import content_disposition, result_name
from interface.responses import json_response

XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_CHUNK: Final = 256 * 1024
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
_MAX_LISTED: Final = 500


def router(context: Context) -> APIRouter:
    """Return the routes under ``/jobs``."""
    routes = APIRouter(tags=["jobs"])

    @routes.get("/jobs", summary="Recent jobs, newest first", responses=documented(422, 503))
    async def jobs(
        limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = 50, status: Status | None = None
    ) -> Response:
        found = await context.threads.run(context.store.recent, limit, status)
        return json_response([job.public() for job in found])

    @routes.get("/jobs/{job_id}", summary="A job's status", responses=documented(404, 503))
    async def job(job_id: str) -> Response:
        return json_response((await find(context, job_id)).public())

    @routes.get(
        "/jobs/{job_id}/result",
        summary="The scored workbook",
        response_class=Response,
        responses={
            200: {"description": "The workbook", "content": {XLSX: {}}},
            **documented(404, 409, 410, 503),
        },
    )
    async def result(job_id: str) -> Response:
        return await _result(context, await find(context, job_id))

    @routes.delete(
        "/jobs/{job_id}",
        status_code=204,
        summary="Cancel a job and delete its record and files",
        responses=documented(404, 503),
    )
    async def delete(job_id: str) -> Response:
        await find(context, job_id)
        await context.threads.run(_delete, context, job_id)
        return Response(status_code=204)

    events = EventStream(context.events, partial(find, context), _public)
    routes.routes.append(WebSocketRoute("/jobs/{job_id}/events", events))
    return routes


async def find(context: Context, job_id: str) -> Job:
    """Return a job. Raises `NotFound` for an unknown, malformed or expired id."""
    job = None
    if _JOB_ID.fullmatch(job_id):
        job = await context.threads.run(context.store.get, job_id)
    if job is None:
        raise NotFound("No job has this id; it may have expired or been deleted.")
    return job


async def _result(context: Context, job: Job) -> Response:
    if job.kind is Kind.TRAINING:
        raise NotFound("A training makes no workbook; what it made is in GET /jobs/{job_id}.")
    if job.kind is not Kind.SPREADSHEET:
        raise NotFound("This job has no workbook; its result is under /results.")
    if job.status is not Status.DONE:
        why = f": {job.error}" if job.error else ""
        raise Conflict(
            f"The result is not there: the job is {job.status}{why}",
            errors=[FieldError(field="status", message="is not done", given=str(job.status))],
        )
    try:
        file, size = await context.threads.run(_open, context, result_key(job))
    except NotFound:
        raise Gone("The result has expired; upload the workbook again.") from None
    headers = {
        "Content-Disposition": content_disposition(result_name(job.filename)),
        "Content-Length": str(size),
        "Cache-Control": "private, no-store",
    }
    return StreamingResponse(_chunks(context, file), media_type=XLSX, headers=headers)


def _open(context: Context, key: str) -> tuple[BinaryIO, int]:
    file = context.files.open(key)
    size = file.seek(0, 2)
    file.seek(0)
    return file, size


async def _chunks(context: Context, file: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while chunk := await context.threads.run(file.read, _CHUNK):
            yield chunk
    finally:
        file.close()


def _delete(context: Context, job_id: str) -> None:
    """Cancel, so that a worker that holds the job stops; then delete files and record. Blocks."""
    context.store.cancel(job_id)
    remove_files(context.files, job_id)
    context.store.delete(job_id)


def _public(job: Job) -> bytes:
    return msgspec.json.encode(job.public())
