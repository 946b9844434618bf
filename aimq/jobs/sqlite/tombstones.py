"""Ids of deleted jobs, kept until the jobs would have expired: each function is one step inside a
transaction. Times are microseconds since 1970.
"""

from __future__ import annotations

from aimq.sqlite.writer import Transaction


def leave(tx: Transaction, job_id: str, expires_at: int, now: int) -> None:
    """Remember an id until `expires_at`, and forget those whose time is over."""
    tx.execute("DELETE FROM tombstone WHERE expires_at <= ?", (now,))
    if expires_at > now:
        tx.execute("INSERT OR REPLACE INTO tombstone VALUES (?, ?)", (job_id, expires_at))


def has(tx: Transaction, job_id: str, now: int) -> bool:
    """True if the id is remembered."""
    found = "SELECT 1 FROM tombstone WHERE job_id = ? AND expires_at > ?"
    return tx.execute(found, (job_id, now)).fetchone() is not None
