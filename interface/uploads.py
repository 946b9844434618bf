"""``POST /upload``: checks, stores, records and queues a workbook, in that order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from aimq import telemetry
from aimq.errors import FieldError, Invalid
from aimq.http.problems import documented
from aimq.jobs.job import Job
from aimq.messages import Kind
from aimq.ml_client.served_models import choose_model
from aimq.profile import LEAST_INTERVAL, MOST_INTERVAL
from aimq.schema.model import Task
from aimq.workbook.columns import check_columns
from interface.context import Context
from interface.filenames import display_name
from interface.metrics import counted
from interface.models import ModelName, find_model
from interface.schema_cache import KnownModel
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

Interval = Annotated[
    int | None,
    Query(
        ge=LEAST_INTERVAL,
        le=MOST_INTERVAL,
        description="Per cent that prediction intervals are to cover.",
    ),
]


class UploadAccepted(BaseModel):
    """The answer to an upload: it will not be lost."""

    job_id: str
    status: str
    model: str
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
        responses=documented(400, 404, 413, 415, 422, 503),
        openapi_extra=_BODY,
    )
    async def upload(
        request: Request, model: ModelName = "", interval: Interval = None
    ) -> UploadAccepted:
        with counted(context.metrics.uploads):
            job = await _accept(context, request, model, interval or 0)
        url = f"{request.scope.get('root_path', '')}/jobs/{job.job_id}"
        return UploadAccepted(
            job_id=job.job_id,
            status=job.status,
            model=job.model,
            status_url=url,
            result_url=f"{url}/result",
            events_url=f"{url}/events",
        )

    return routes


async def _accept(context: Context, request: Request, model: str, interval: int) -> Job:
    """Store first, then publish: from the moment the job is recorded it cannot be lost."""
    bound = context.settings.max_upload_mb * MIB
    context.queues.admit()
    named = await find_model(context, model) if model else None
    file, _ = await receive(request, bound, no_file=_NO_FILE, smaller=_SMALLER)
    try:
        header = await context.workbook_threads.run(context.workbooks.header, file.file)
        if named is None and not model and header is not None:
            named = await _chosen(context, header)
        if named is not None:
            _check(named, header, interval)
        job = Job(
            kind=Kind.SPREADSHEET,
            filename=display_name(file.filename or ""),
            model=named.served.name if named else model,
            interval=interval,
            traceparent=telemetry.continue_trace(request.headers.get("traceparent")),
        )
        await context.threads.run(store_upload, context, job, file.file)
    finally:
        await file.close()
    await context.publisher.publish([job])
    return job


async def _chosen(context: Context, header: Sequence[str]) -> KnownModel | None:
    """Return the model that a sheet is for by its columns; the default if it is for none.

    None while the ML service has not been seen, or has no default: the batch processor chooses.
    """
    name = choose_model(header, [model.served for model in context.schema.known])
    if name is None:  # perhaps for a model that is new
        await context.schema.refresh_if_possible()
        name = choose_model(header, [model.served for model in context.schema.known])
    return context.schema.default if name is None else await context.schema.find(name)


def _check(model: KnownModel, header: Sequence[str] | None, interval: int) -> None:
    """Raise `Invalid` when the sheet lacks columns, or the model has no intervals."""
    if interval and model.schema.task is Task.CLASSIFICATION:
        raise Invalid(
            f"The model {model.served.name!r} answers classes, which have no interval: leave "
            "interval out.",
            errors=[FieldError(field="interval", message="is for numbers", given=interval)],
        )
    if header is not None:
        check_columns(header, model.schema)
