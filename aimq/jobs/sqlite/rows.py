"""A job as a row of the ``job`` table, and back: each field of `Job` is the column of that name.

A new field needs a column (``aimq/sqlite/tables``), and `_DECODE` if SQLite has no such type.
"""

# ruff: noqa: S608 # only constants of ours are put into SQL; values are bound

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from aimq.jobs.job import Job, Status
from aimq.messages import Kind
from aimq.sqlite.writer import Transaction
from aimq.times import from_us, to_us

#: Topic of changed jobs.
TOPIC: Final = "jobs"
_FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(Job))
_LONG: Final = {"input", "result"}
#: The columns of a whole job, and of a job without what may be long.
WHOLE: Final = ", ".join(_FIELDS)
SUMMARY: Final = ", ".join(f"x'' AS {name}" if name in _LONG else name for name in _FIELDS)
_INSERT: Final = (
    f"INSERT INTO job ({WHOLE}, idempotency_key, change)"
    f" VALUES ({', '.join('?' * len(_FIELDS))}, ?, ?) ON CONFLICT (job_id) DO NOTHING"
)
_DECODE: Final[dict[str, Callable[[Any], object]]] = {
    "kind": Kind,
    "status": Status,
    "published": bool,
    "model_versions": msgspec.json.decode,
    "created_at": from_us,
    "started_at": from_us,
    "finished_at": from_us,
}
_LONGEST_ID: Final = 128


def valid_id(job_id: str) -> bool:
    """False if no job can have this id: it is not looked for."""
    return job_id.isascii() and 0 < len(job_id) <= _LONGEST_ID


def to_column(value: object) -> object:
    """Return the value of a field as SQLite has it."""
    if isinstance(value, datetime):
        return to_us(value)
    if isinstance(value, Mapping):
        return msgspec.json.encode(dict(value)).decode()
    return value


def to_job(row: sqlite3.Row) -> Job:
    """Return the job of a row of `WHOLE` or `SUMMARY`."""
    values: dict[str, Any] = {name: row[name] for name in _FIELDS}
    for name, decode in _DECODE.items():
        values[name] = decode(values[name])
    return Job(**values)


def insert(tx: Transaction, job: Job, idempotency_key: str) -> None:
    """Store a new job; one with the same id stays as it is."""
    values = [to_column(getattr(job, name)) for name in _FIELDS]
    tx.execute(_INSERT, (*values, idempotency_key or None, tx.next("change")))
    tx.notify(TOPIC)


def find(source: Transaction | sqlite3.Connection, job_id: str, born_after: int) -> Job | None:
    """Return a job that has not expired: it was made after `born_after`."""
    if not valid_id(job_id):
        return None
    row = source.execute(
        f"SELECT {WHOLE} FROM job WHERE job_id = ? AND created_at > ?", (job_id, born_after)
    ).fetchone()
    return None if row is None else to_job(row)


def change(tx: Transaction, job_id: str, assignments: str, values: Iterable[object] = ()) -> Job:
    """Set columns of a job that is there, notify those who watch, and return the job.

    Args:
        assignments: SQL of ours, such as ``status = ?, error = NULL``; `values` fill its marks.
    """
    row = tx.execute(
        f"UPDATE job SET {assignments}, change = ? WHERE job_id = ? RETURNING {WHOLE}",
        (*values, tx.next("change"), job_id),
    ).fetchone()
    tx.notify(TOPIC)
    return to_job(row)
