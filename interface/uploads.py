"""``POST /upload``: checks, stores, records and queues a workbook, in that order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import BinaryIO, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from aimq import telemetry
from aimq.errors import AimqError, ClientError, FilesUnavailable, StoreUnavailable, TooLarge
from aimq.files.keys import upload_key
from aimq.http.problems import documented
from aimq.jobs.job import Job
from aimq.messages import Kind
from aimq.workbook.columns import check_columns
from interface.context import Context
from interface.filenames import display_name
from interface.metrics import counted

MIB: Final = 1024 * 1024
#: What the form's boundaries and headers may add to the file.
_FORM_OVERHEAD: Final = 64 * 1024
#: Longest wait for the next piece of an upload, in seconds.
_STALLED_SECONDS: Final = 60.0
_NO_FILE: Final = (
    "No file came: send the workbook as multipart/form-data in a field named `file`, "
    "for example with curl -F file=@cars.xlsx."
)
_FORM: Final = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}},
    "required": ["file"],
}
_BODY: Final = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
}

# It warns of every malformed form, which is not for the operator: the answer tells the client.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


class _Stopped(MultiPartException):
    """Makes the form parser close what it has and stop."""

    def __init__(self, error: AimqError) -> None:
        super().__init__(error.detail)
        self.error = error


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
    file = await _receive(request, bound)
    try:
        job = Job(
            kind=Kind.SPREADSHEET,
            filename=display_name(file.filename or ""),
            traceparent=telemetry.continue_trace(request.headers.get("traceparent")),
        )
        header = await context.workbook_threads.run(context.workbooks.header, file.file)
        if header is not None and context.schema.schema is not None:
            check_columns(header, context.schema.schema)
        await context.threads.run(_store, context, job, file.file)
    finally:
        await file.close()
    await context.publisher.publish([job])
    return job


def _store(context: Context, job: Job, file: BinaryIO) -> None:
    """Store the file, then the job's record. Blocks."""
    file.seek(0)
    key = upload_key(job.job_id)
    context.files.put(key, file)
    try:
        context.store.create([job])
    except StoreUnavailable:
        with suppress(FilesUnavailable):  # else the deletion of orphans takes it up
            context.files.delete(key)
        raise


async def _receive(request: Request, bound: int) -> UploadFile:
    """Read the form up to the bound and return its file, spooled to disk when it is large.

    Raises:
        ClientError: no form, no file, or a connection that ended or stalled.
        TooLarge: before a byte is read when the client says so itself, else once it is passed.
    """
    too_large = TooLarge(
        f"The upload is over {bound // MIB:,} MiB. Split the workbook into several files."
    )
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > bound + _FORM_OVERHEAD:
        raise too_large
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ClientError(_NO_FILE)
    parser = MultiPartParser(
        request.headers,
        _bounded(request, bound + _FORM_OVERHEAD, too_large),
        max_files=1,
        max_fields=8,
    )
    try:
        form = await parser.parse()
    except _Stopped as exc:
        raise exc.error from None
    except MultiPartException as exc:
        raise ClientError(f"The form cannot be read: {exc.message} {_NO_FILE}") from None
    except FormParserError:
        raise ClientError(f"The form cannot be read. {_NO_FILE}") from None
    except OSError as exc:
        raise FilesUnavailable(f"The upload cannot be kept: {exc.strerror}.") from exc
    file = form.get("file")
    if not isinstance(file, UploadFile):
        await form.close()
        raise ClientError(_NO_FILE)
    if (file.size or 0) > bound:
        await form.close()
        raise too_large
    return file


async def _bounded(
    request: Request, bound: int, too_large: TooLarge
) -> AsyncGenerator[bytes, None]:
    received = 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_STALLED_SECONDS):
                chunk = await anext(stream, None)
        except ClientDisconnect:
            cut_off = "The connection ended before the upload was complete."
            raise _Stopped(ClientError(cut_off)) from None
        except TimeoutError:
            stalled = f"Nothing came for {_STALLED_SECONDS:g} s; upload it again."
            raise _Stopped(ClientError(stalled)) from None
        if chunk is None:
            return
        received += len(chunk)
        if received > bound:
            raise _Stopped(too_large)
        yield chunk
