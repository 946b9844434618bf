"""A job as a Redis hash: one field an attribute, left out where it has its default. Pure.

A new attribute of `Job` needs a decoder here if it is not text. Text may hold lone surrogates (a
client's file name).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from aimq.errors import InternalError
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Outcome
from aimq.messages import Kind
from aimq.times import from_us, to_us

_NAMES: Final = {field.name.encode(): field.name for field in msgspec.structs.fields(Job)}
#: What a list or a watch shows of a job.
SUMMARY: Final = tuple(
    name for name in _NAMES.values() if name not in {"job_id", "input", "result"}
)

Field = bytes | int


def encoded(text: str) -> bytes:
    """Return text as UTF-8; a lone surrogate is kept."""
    return text.encode("utf-8", "surrogatepass")


def decoded(data: bytes) -> str:
    """Undo `encoded`."""
    return data.decode("utf-8", "surrogatepass")


def _moment(data: bytes) -> datetime | None:
    return from_us(int(data))


_DECODE: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "kind": lambda data: Kind(decoded(data)),
    "status": lambda data: Status(decoded(data)),
    "rows_total": int,
    "rows_done": int,
    "rows_failed": int,
    "attempts": int,
    "interval": int,
    "model_versions": lambda data: msgspec.json.decode(data, type=dict[str, str]),
    "created_at": _moment,
    "started_at": _moment,
    "finished_at": _moment,
    "published": lambda data: data == b"1",
    "input": bytes,
    "result": bytes,
}


def to_fields(values: Mapping[str, object]) -> list[Field]:
    """Return attributes as hash fields and values, in turn; empty ones are left out."""
    fields: list[Field] = []
    for name, value in values.items():
        if value or (value == 0 and name == "rows_total"):
            fields += (name.encode(), _stored(value))
    return fields


def _stored(value: Any) -> Field:  # noqa: ANN401 # any type that an attribute of a job has
    match value:
        case str():
            return encoded(value)
        case datetime():
            return to_us(value)
        case Mapping():
            return msgspec.json.encode(dict(value))
        case bytes():
            return value
    return int(value)


def job_fields(job: Job) -> list[Field]:
    """Return a new job as hash fields and values, in turn."""
    return to_fields({name: getattr(job, name) for name in _NAMES.values() if name != "job_id"})


def outcome_fields(outcome: Outcome) -> list[Field]:
    """Return what an outcome changes as hash fields and values, in turn; the status apart."""
    changed = to_fields(
        {
            name: getattr(outcome, name)
            for name in ("error", "result", "result_key", "model", "model_versions")
        }
    )
    for name, count in outcome.counts.items():
        changed += (name.encode(), count)
    return changed


def from_hash(job_id: str, fields: Mapping[bytes, bytes]) -> Job:
    """Return the job of a hash; fields that are not the record's are passed over.

    Raises:
        InternalError: the record is not one that this version writes.
    """
    try:
        values = {
            name: _DECODE.get(name, decoded)(data)
            for field, data in fields.items()
            if (name := _NAMES.get(field))
        }
        return Job(**{**values, "job_id": job_id})
    except (KeyError, TypeError, ValueError) as exc:
        raise InternalError(f"the record of job {job_id[:40]!r} is damaged: {exc!r}") from exc


def from_pairs(job_id: str, flat: Sequence[bytes]) -> Job:
    """Return the job of fields and values in turn, as a script returns a hash."""
    return from_hash(job_id, dict(zip(flat[::2], flat[1::2], strict=True)))
