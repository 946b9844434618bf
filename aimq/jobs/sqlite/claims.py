"""Claims in the ``job`` table: each function is one step inside a transaction.

A claim is its token in the row; a new claim, `fail`, `cancel` and `requeue` replace or remove it.
"""

from __future__ import annotations

import secrets
from typing import Final

from aimq.jobs.job import FINAL, Status
from aimq.jobs.port import Claim, Outcome, Refusal, Refused
from aimq.jobs.sqlite import rows, tombstones
from aimq.sqlite.writer import Transaction
from aimq.times import MICRO, now_us

#: Columns that free a job of its claim.
FREE: Final = "token = NULL, owner = NULL, lease_until = 0"
_TOKEN_BYTES: Final = 8
_COUNTS: Final = ("rows_total", "rows_done", "rows_failed")


def claim(
    tx: Transaction, job_id: str, owner: str, lease: float, now: int, born_after: int
) -> Claim | Refused:
    """Give one job to `owner` for `lease` seconds, if it is free.

    Args:
        now: by the clock of leases (`Database.now_us`).
        born_after: a job that was made earlier, by the time of day, has expired.
    """
    if not rows.valid_id(job_id):
        return Refused(job_id=job_id, reason=Refusal.UNKNOWN)
    row = tx.execute(
        "SELECT status, lease_until, crashes FROM job WHERE job_id = ? AND created_at > ?",
        (job_id, born_after),
    ).fetchone()
    if row is None:
        gone = tombstones.has(tx, job_id, now_us())
        return Refused(job_id=job_id, reason=Refusal.FINAL if gone else Refusal.UNKNOWN)
    status, lease_until, crashes = row
    if status in FINAL:
        return Refused(job_id=job_id, reason=Refusal.FINAL)
    if status == Status.PROCESSING:
        if lease_until > now:
            return Refused(job_id=job_id, reason=Refusal.HELD, retry_in=(lease_until - now) / MICRO)
        crashes += 1
    token = secrets.token_hex(_TOKEN_BYTES)
    claimed = rows.change(
        tx,
        job_id,
        "status = ?, attempts = attempts + 1, started_at = ifnull(started_at, ?), error = NULL,"
        " published = 1, token = ?, owner = ?, lease_until = ?, crashes = ?",
        (Status.PROCESSING, now_us(), token, owner, now + int(lease * MICRO), crashes),
    )
    return Claim(job=claimed, token=token, crashes=crashes)


def holds(tx: Transaction, claimed: Claim) -> bool:
    """False if a claim is void."""
    row = tx.execute("SELECT token FROM job WHERE job_id = ?", (claimed.job.job_id,)).fetchone()
    return row is not None and row["token"] == claimed.token


def renew(tx: Transaction, claimed: Claim, lease_until: int) -> bool:
    """Hold a claim until `lease_until`. False: void."""
    renewed = tx.execute(
        "UPDATE job SET lease_until = ? WHERE job_id = ? AND token = ?",
        (lease_until, claimed.job.job_id, claimed.token),
    )
    return bool(renewed.rowcount)


def settle(tx: Transaction, outcome: Outcome, now: int) -> bool:
    """End a claim. False, with nothing changed: void."""
    if not holds(tx, outcome.claim):
        return False
    columns: dict[str, object] = {
        "status": outcome.status,
        "error": outcome.error if outcome.status is not Status.DONE else None,
        "finished_at": now if outcome.status in FINAL else None,
        **{name: outcome.counts[name] for name in _COUNTS if name in outcome.counts},
    }
    if outcome.result:
        columns["result"] = outcome.result
    if outcome.result_key:
        columns["result_key"] = outcome.result_key
    if outcome.model:
        columns["model"] = outcome.model
    if outcome.model_versions:
        columns["model_versions"] = rows.to_column(outcome.model_versions)
    assignments = ", ".join(f"{name} = ?" for name in columns)
    rows.change(tx, outcome.claim.job.job_id, f"{assignments}, {FREE}", columns.values())
    return True
