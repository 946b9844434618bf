"""``POST /upload``: checks, stores, records and queues a workbook, in that order."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from pydantic import BaseModel

from aimq import telemetry
from aimq.http.problems import documented
from aimq.jobs.job import Job
from aimq.messages import Kind
from aimq.workbook.columns import check_columns
from interface.context import Context
from interface.filenames import display_name
from interface.metrics import counted
from interface.upload_form import MIB, receive, store_upload

_NO_FILE: Final = (
    "No file came: send the workbook as multipart/form-data in a field named `file`, "
    "for example with curl -F file=@cars.xlsx."
)
_SMALLER: Final = "Split the workbook into several files."
_FORM: Final = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}},
    "required": ["file"],
}
_BODY: Final = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
}


class UploadAccepted(BaseModel):
    """The answer to an upload: it will not be lost."""

    job_id: str
    status: str
    status_url: str
    result_url: str
    events_url: str


def router(context: Context) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["jobs"])

    @routes.post(
        "/upload",
        status_code=202,
        summary="Upload a workbook to be scored",
        responses=documented(400, 413, 415, 422, 503),
        openapi_extra=_BODY,
    )
    async def upload(request: Request) -> UploadAccepted:
        with counted(context.metrics.uploads):
            job = await _accept(context, request)
        url = f"{request.scope.get('root_path', '')}/jobs/{job.job_id}"
        return UploadAccepted(
            job_id=job.job_id,
            status=job.status,
            status_url=url,
            result_url=f"{url}/result",
            events_url=f"{url}/events",
        )

    return routes


async def _accept(context: Context, request: Request) -> Job:
    """Store first, then publish: from the moment the job is recorded it cannot be lost."""
    bound = context.settings.max_upload_mb * MIB
    context.queues.admit()
    file, _ = await receive(request, bound, no_file=_NO_FILE, smaller=_SMALLER)
    try:
        job = Job(
            kind=Kind.SPREADSHEET,
            filename=display_name(file.filename or ""),
            traceparent=telemetry.continue_trace(request.headers.get("traceparent")),
        )
        header = await context.workbook_threads.run(context.workbooks.header, file.file)
        if header is not None and context.schema.schema is not None:
            check_columns(header, context.schema.schema)
        await context.threads.run(store_upload, context, job, file.file)
    finally:
        await file.close()
    await context.publisher.publish([job])
    return job
