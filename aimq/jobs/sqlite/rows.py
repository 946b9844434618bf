"""A job as a row of the ``job`` table, and back. Times in microseconds since 1970."""

# ruff: noqa: S608 # only constants of ours are put into SQL; values are bound

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from aimq.jobs.job import Job, Status
from aimq.messages import Kind
from aimq.sqlite.times import from_us, from_us_or_none, to_us
from aimq.sqlite.writer import Transaction

#: Topic of the bells of those who watch.
TOPIC: Final = "jobs"

_COLUMNS: Final = (
    "job_id, kind, filename, status, rows_total, rows_done, rows_failed, attempts, error,"
    " model_versions, created_at, started_at, finished_at, published, traceparent, callback_url,"
)
#: A whole job.
WHOLE: Final = f"{_COLUMNS} input, result"
#: A job without what may be long.
SUMMARY: Final = f"{_COLUMNS} x'', x''"
_LONGEST_ID: Final = 128


def sound(job_id: str) -> bool:
    """Tell whether an id could be one at all; others are not looked for."""
    return job_id.isascii() and 0 < len(job_id) <= _LONGEST_ID


def to_job(row: Iterable[Any]) -> Job:
    """Return the job of a row of `WHOLE` or `SUMMARY`."""
    (
        job_id, kind, filename, status, rows_total, rows_done, rows_failed, attempts, error,
        versions, created, started, finished, published, traceparent, callback_url, work, result,
    ) = row  # fmt: skip
    return Job(
        job_id=job_id,
        kind=Kind(kind),
        filename=filename,
        status=Status(status),
        rows_total=rows_total,
        rows_done=rows_done,
        rows_failed=rows_failed,
        attempts=attempts,
        error=error,
        model_versions={} if versions == "{}" else msgspec.json.decode(versions),
        created_at=from_us(created),
        started_at=from_us_or_none(started),
        finished_at=from_us_or_none(finished),
        published=bool(published),
        traceparent=traceparent,
        callback_url=callback_url,
        input=work,
        result=result,
    )


def insert(tx: Transaction, job: Job, idempotency_key: str) -> None:
    """Store a new job; one with the same id stays as it is."""
    cursor = tx.execute(
        "INSERT INTO job (job_id, kind, filename, status, rows_total, rows_done, rows_failed,"
        " attempts, error, model_versions, created_at, started_at, finished_at, published,"
        " traceparent, callback_url, input, result, idempotency_key, change)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (job_id) DO NOTHING",
        (
            job.job_id,
            job.kind.value,
            job.filename,
            job.status.value,
            job.rows_total,
            job.rows_done,
            job.rows_failed,
            job.attempts,
            job.error,
            msgspec.json.encode(job.model_versions).decode(),
            to_us(job.created_at),
            None if job.started_at is None else to_us(job.started_at),
            None if job.finished_at is None else to_us(job.finished_at),
            job.published,
            job.traceparent,
            job.callback_url,
            job.input,
            job.result,
            idempotency_key or None,
            tx.next("change"),
        ),
    )
    if cursor.rowcount:
        tx.ring(TOPIC)


def find(source: Transaction | sqlite3.Connection, job_id: str, born_after: int) -> Job | None:
    """Return a job that has not expired: made after `born_after`."""
    if not sound(job_id):
        return None
    row = source.execute(
        f"SELECT {WHOLE} FROM job WHERE job_id = ? AND created_at > ?", (job_id, born_after)
    ).fetchone()
    return None if row is None else to_job(row)


def change(tx: Transaction, job_id: str, assignments: str, values: Iterable[object] = ()) -> None:
    """Set columns of a job and tell those who watch.

    Args:
        assignments: SQL of ours, such as ``status = ?, error = NULL``; `values` fill its marks.
    """
    tx.execute(
        f"UPDATE job SET {assignments}, change = ? WHERE job_id = ?",
        (*values, tx.next("change"), job_id),
    )
    tx.ring(TOPIC)
