"""A job as a Redis hash: one field an attribute, left out where it has its default. Pure.

Times are whole microseconds since 1970, UTC. Text may hold lone surrogates (a client's file name).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from aimq.errors import InternalError
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Outcome
from aimq.messages import Kind

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def encoded(text: str) -> bytes:
    """Return text as UTF-8; a lone surrogate is kept."""
    return text.encode("utf-8", "surrogatepass")


def decoded(data: bytes) -> str:
    """Undo `encoded`."""
    return data.decode("utf-8", "surrogatepass")


def microseconds(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def _moment(data: bytes) -> datetime:
    return _EPOCH + timedelta(microseconds=int(data))


def _versions(data: bytes) -> dict[str, str]:
    return msgspec.json.decode(data, type=dict[str, str])


def _flag(data: bytes) -> bool:
    return data == b"1"


_KINDS: Final = {kind.value.encode(): kind for kind in Kind}
_STATUSES: Final = {status.value.encode(): status for status in Status}

_READERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "kind": _KINDS.__getitem__,
    "status": _STATUSES.__getitem__,
    "filename": decoded,
    "created_at": _moment,
    "rows_total": int,
    "rows_done": int,
    "rows_failed": int,
    "attempts": int,
    "error": decoded,
    "model_versions": _versions,
    "started_at": _moment,
    "finished_at": _moment,
    "published": _flag,
    "traceparent": decoded,
    "callback_url": decoded,
    "result_key": decoded,
    "input": bytes,
    "result": bytes,
}
_READ: Final = {name.encode(): (name, read) for name, read in _READERS.items()}
#: What a list or a watch shows of a job, in the order in which scripts return it.
SUMMARY: Final = tuple(name for name in _READ if name not in {b"input", b"result"})

Field = bytes | int


def to_fields(job: Job) -> list[Field]:
    """Return a new job as hash fields and values, in turn."""
    fields: list[Field] = [b"kind", encoded(job.kind), b"status", encoded(job.status)]
    fields += (b"created_at", microseconds(job.created_at))
    for name in ("filename", "traceparent", "callback_url", "error", "result_key"):
        if text := getattr(job, name):
            fields += (name.encode(), encoded(text))
    for name in ("rows_done", "rows_failed", "attempts", "input", "result"):
        if value := getattr(job, name):
            fields += (name.encode(), value)
    for name in ("started_at", "finished_at"):
        if moment := getattr(job, name):
            fields += (name.encode(), microseconds(moment))
    if job.rows_total is not None:
        fields += (b"rows_total", job.rows_total)
    if job.model_versions:
        fields += (b"model_versions", msgspec.json.encode(job.model_versions))
    if job.published:
        fields += (b"published", b"1")
    return fields


def outcome_fields(outcome: Outcome) -> list[Field]:
    """Return what an outcome changes as hash fields and values, in turn; the status apart."""
    fields: list[Field] = []
    if outcome.error is not None:
        fields += (b"error", encoded(outcome.error))
    if outcome.result:
        fields += (b"result", outcome.result)
    if outcome.result_key:
        fields += (b"result_key", encoded(outcome.result_key))
    if outcome.model_versions:
        fields += (b"model_versions", msgspec.json.encode(dict(outcome.model_versions)))
    for name, count in outcome.counts.items():
        fields += (name.encode(), count)
    return fields


def from_hash(job_id: str, fields: Mapping[bytes, bytes]) -> Job:
    """Return the job of a hash; fields that are not the record's are passed over.

    Raises:
        InternalError: the record is not one that this version writes.
    """
    values = {}
    try:
        for field, data in fields.items():
            if known := _READ.get(field):
                values[known[0]] = known[1](data)
        return Job(job_id=job_id, **values)
    except (KeyError, TypeError, ValueError) as exc:
        raise InternalError(f"the record of job {job_id[:40]!r} is damaged: {exc!r}") from exc


def from_pairs(job_id: str, flat: Sequence[bytes]) -> Job:
    """Return the job of fields and values in turn, as a script returns a hash."""
    pairs = iter(flat)
    return from_hash(job_id, dict(zip(pairs, pairs, strict=True)))


def from_summary(job_id: str, values: Iterable[bytes | None]) -> Job | None:
    """Return the job of values in the order of `SUMMARY`; None when the record is gone."""
    fields = {name: value for name, value in zip(SUMMARY, values, strict=True) if value is not None}
    return from_hash(job_id, fields) if fields else None
