"""Receives a file in a multipart form, within bounds, and stores it with its job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import BinaryIO, Final, NamedTuple

from fastapi import Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from aimq.errors import AimqError, ClientError, FilesUnavailable, StoreUnavailable, TooLarge
from aimq.files.keys import upload_key
from aimq.jobs.job import Job
from interface.context import Context

MIB: Final = 1024 * 1024
#: What the form's boundaries, headers and fields may add to the file.
_FORM_OVERHEAD: Final = 64 * 1024
_MAX_FIELDS: Final = 8
#: Longest wait for the next piece of an upload, in seconds.
_STALLED_SECONDS: Final = 60.0

# It warns of every malformed form, which is not for the operator: the answer tells the client.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


class Form(NamedTuple):
    """What came: the file, spooled to disk when it is large, and the text fields by name."""

    file: UploadFile
    fields: dict[str, str]


class _Stopped(MultiPartException):
    """Makes the form parser close what it has and stop."""

    def __init__(self, error: AimqError) -> None:
        super().__init__(error.detail)
        self.error = error


def store_upload(context: Context, job: Job, file: BinaryIO) -> None:
    """Store the file, then the job's record. Blocks.

    Raises:
        FilesUnavailable, StoreUnavailable: nothing is stored.
    """
    file.seek(0)
    key = upload_key(job.job_id)
    context.files.put(key, file)
    try:
        context.store.create([job])
    except StoreUnavailable:
        with suppress(FilesUnavailable):  # else the deletion of orphans takes it up
            context.files.delete(key)
        raise


async def receive(request: Request, bound: int, *, no_file: str, smaller: str) -> Form:
    """Read the form up to the bound. The caller closes the file.

    Args:
        bound: largest file, in bytes.
        no_file: what the client is told that sends no file.
        smaller: what it is told to do about a file over the bound.

    Raises:
        ClientError: no form, no file, or a connection that ended or stalled.
        TooLarge: before a byte is read when the client says so itself, else once it is passed.
    """
    too_large = TooLarge(f"The upload is over {bound // MIB:,} MiB. {smaller}")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > bound + _FORM_OVERHEAD:
        raise too_large
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ClientError(no_file)
    parser = MultiPartParser(
        request.headers,
        _bounded(request, bound + _FORM_OVERHEAD, too_large),
        max_files=1,
        max_fields=_MAX_FIELDS,
        max_part_size=_FORM_OVERHEAD,
    )
    try:
        form = await parser.parse()
    except _Stopped as exc:
        raise exc.error from None
    except MultiPartException as exc:
        raise ClientError(f"The form cannot be read: {exc.message} {no_file}") from None
    except FormParserError:
        raise ClientError(f"The form cannot be read. {no_file}") from None
    except OSError as exc:
        raise FilesUnavailable(f"The upload cannot be kept: {exc.strerror}.") from exc
    file = form.get("file")
    if not isinstance(file, UploadFile):
        await form.close()
        raise ClientError(no_file)
    if (file.size or 0) > bound:
        await form.close()
        raise too_large
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    return Form(file, fields)


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
