"""``POST /train``: checks, stores, records and queues a table to train a model from."""

from __future__ import annotations

import codecs
import csv
import io
from typing import BinaryIO, Final

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel

from aimq import csv_format, telemetry
from aimq.errors import FieldError, Invalid, UnsupportedMedia
from aimq.http.problems import documented
from aimq.jobs.job import Job
from aimq.jobs.training import ENDINGS, MAX_COLUMN, MODEL_NAME, Training, model_name
from aimq.messages import Kind
from aimq.schema.model import fold
from interface.context import Context
from interface.filenames import display_name
from interface.metrics import counted
from interface.upload_form import MIB, Form, receive, store_upload

_NO_FILE: Final = (
    "No file came: send the table as multipart/form-data in a field named `file`, for example "
    "with curl -F file=@sales.csv -F target=price."
)
_SMALLER: Final = "Train on fewer rows, or with `aimq train`."
_TASKS: Final = ("", "regression", "classification")
#: How much of a CSV file is looked at for its header, in bytes.
_SAMPLE: Final = 64 * 1024
#: Most columns that a refusal lists.
_LISTED: Final = 2_000
_TEXT: Final = {"type": "string", "maxLength": MAX_COLUMN}
_FORM: Final = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary", "description": ", ".join(ENDINGS)},
        "target": {**_TEXT, "description": "Column to predict."},
        "name": {
            "type": "string",
            "pattern": f"^{MODEL_NAME.pattern}$",
            "description": "Of the model; by default from the file's name. That of a model which "
            "predicts the same column makes a new version of it.",
        },
        "group": {**_TEXT, "description": "Column whose values have a model each."},
        "task": {"type": "string", "enum": list(_TASKS[1:])},
    },
    "required": ["file", "target"],
}
_BODY: Final = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
}


class TrainingAccepted(BaseModel):
    """The answer to a training: it will not be lost."""

    job_id: str
    status: str
    model: str
    status_url: str
    events_url: str


def router(context: Context) -> APIRouter:
    """Return the route."""
    routes = APIRouter(tags=["models"])

    @routes.post(
        "/train",
        status_code=202,
        summary="Train a model from a table of past cases",
        responses=documented(400, 413, 415, 422, 503),
        openapi_extra=_BODY,
    )
    async def train(request: Request) -> TrainingAccepted:
        with counted(context.metrics.tasks, Kind.TRAINING):
            job = await _accept(context, request)
        url = f"{request.scope.get('root_path', '')}/jobs/{job.job_id}"
        return TrainingAccepted(
            job_id=job.job_id,
            status=job.status,
            model=job.model,
            status_url=url,
            events_url=f"{url}/events",
        )

    return routes


async def _accept(context: Context, request: Request) -> Job:
    """Store first, then publish, as for an upload."""
    context.queues.admit()
    bound = context.settings.max_upload_mb * MIB
    form = await receive(request, bound, no_file=_NO_FILE, smaller=_SMALLER)
    try:
        ending = _ending(form)
        header = await context.workbook_threads.run(_header, context, form.file.file, ending)
        target = _column(form, "target", header)
        if not target:
            raise _unknown("target", "Say which column is to be predicted.", "", header)
        asked = Training(
            target=target, ending=ending, group=_column(form, "group", header), task=_task(form)
        )
        job = Job(
            kind=Kind.TRAINING,
            filename=display_name(form.file.filename or ""),
            model=_name(form),
            input=msgspec.json.encode(asked),
            traceparent=telemetry.continue_trace(request.headers.get("traceparent")),
        )
        await context.threads.run(store_upload, context, job, form.file.file)
    finally:
        await form.file.close()
    await context.publisher.publish([job])
    return job


def _ending(form: Form) -> str:
    name = (form.file.filename or "").casefold()
    for ending in ENDINGS:
        if name.endswith(ending):
            return ending
    raise UnsupportedMedia(f"Send the table as {', '.join(ENDINGS)}: its name says what it is.")


def _name(form: Form) -> str:
    name = form.fields.get("name", "").strip() or model_name(form.file.filename or "")
    if not MODEL_NAME.fullmatch(name):
        raise Invalid(
            "A model's name has letters, digits, - and _, begins with a letter or a digit, and is "
            "at most 64 characters long.",
            errors=[FieldError(field="name", message="is no name for a model", given=name[:100])],
        )
    return name


def _task(form: Form) -> str:
    task = form.fields.get("task", "").strip()
    if task not in _TASKS:
        allowed = list(_TASKS[1:])
        wrong = FieldError(field="task", message="is no task", given=task[:100], allowed=allowed)
        raise Invalid(f"The task is {' or '.join(allowed)}.", errors=[wrong])
    return task


def _column(form: Form, field: str, header: list[str] | None) -> str:
    """Return the column that a field names, as the header spells it where that is known.

    Raises:
        Invalid: there is no such column; lists those that there are.
    """
    given = form.fields.get(field, "").strip()
    if len(given) > MAX_COLUMN or not given.isprintable():
        raise _unknown(field, f"The {field} is no name of a column.", given, header)
    if not given or header is None:
        return given
    alike = [name for name in header if fold(name) == fold(given)]
    if not alike:
        raise _unknown(field, f"The table has no column {given!r}.", given, header)
    return alike[0]


def _unknown(field: str, said: str, given: str, header: list[str] | None) -> Invalid:
    columns = [name for name in header or [] if name and len(name) <= MAX_COLUMN][:_LISTED]
    known = f" It has: {', '.join(columns)[:1000]}." if columns else ""
    wrong = FieldError(field=field, message="is not a column of the table", given=given[:100])
    return Invalid(said + known, errors=[wrong | FieldError(allowed=columns)])


def _header(context: Context, file: BinaryIO, ending: str) -> list[str] | None:
    """Return the names of the columns; None where they cannot be read quickly. Blocks."""
    if ending == ".xlsx":
        header = context.workbooks.header(file)
        return None if header is None else [cell.strip() for cell in header]
    return _csv_header(file) if ending == ".csv" else None


def _csv_header(file: BinaryIO) -> list[str] | None:
    """Return the first row of a CSV file; None where the training has to say what is wrong."""
    file.seek(0)
    try:  # the sample may end within a character
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(file.read(_SAMPLE))
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=csv_format.separator(text))
        row: list[str] = next(filter(None, rows), [])
    except (UnicodeDecodeError, csv.Error):
        return None
    return [cell.strip() for cell in row] if "\0" not in text else None
