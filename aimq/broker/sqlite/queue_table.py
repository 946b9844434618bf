"""The ``message`` table as a queue: each function is one step inside a transaction.

Columns: ``aimq/sqlite/tables``. Times are microseconds since 1970. The functions that settle a
delivery return False, and change nothing, when it is void.
"""

# ruff: noqa: S608 # only constants of ours are put into SQL; values are bound

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from typing import Final

from aimq.broker.failure_history import DELIVERY_SAFETY_NET
from aimq.broker.port import Delivery, Failure, QueueCounts
from aimq.broker.sqlite.rows import Tag, to_delivery
from aimq.sqlite.writer import Transaction

#: States of a message: ready, delivered and not settled, waiting for a retry, given up.
READY, HELD, DELAYED, DEAD = range(4)

_LOST: Final = Failure(
    error="Every worker that took this message died; it was given up so that the others go on.",
    error_type="WorkerDied",
)
#: As the index ``message_due`` says it: SQLite does not derive it from ``state = 1``.
_DUE: Final = "queue = ? AND due_at <= ? AND state IN (1, 2)"
#: Filled by the fields of a `Failure`, and the time twice.
_COUNTED: Final = (
    "attempts = attempts + 1, error = ?, error_type = ?, traceback = ?, unprocessable = ?,"
    " first_failed_at = ifnull(first_failed_at, ?), last_failed_at = ?"
)


def insert(tx: Transaction, queue: str, body: bytes, message_id: str) -> None:
    """Put a message at the end of a queue."""
    tx.execute(
        "INSERT INTO message (queue, position, message_id, body) VALUES (?, ?, ?, ?)",
        (queue, tx.next("position"), message_id, body),
    )
    tx.notify(queue)


def next_ready(connection: sqlite3.Connection, queue: str) -> int | None:
    """Return when a message is ready or a lease ends: 0 for now, None if there is no message."""
    row = connection.execute(
        "SELECT iif(EXISTS (SELECT 1 FROM message WHERE queue = :queue AND state = 0), 0,"
        " (SELECT min(due_at) FROM message WHERE queue = :queue AND state IN (1, 2))) AS due_at",
        {"queue": queue},
    ).fetchone()
    due_at: int | None = row["due_at"]
    return due_at


def take(tx: Transaction, queue: str, limit: int, now: int, lease_until: int) -> list[Delivery]:
    """Hold up to `limit` ready messages, longest ready first, until `lease_until`."""
    _release_lapsed(tx, queue, now)
    _release_delayed(tx, queue, now)
    rows = tx.execute(
        "UPDATE message SET state = 1, due_at = ?, delivery = delivery + 1 WHERE id IN"
        " (SELECT id FROM message WHERE queue = ? AND state = 0 ORDER BY position LIMIT ?)"
        " RETURNING *",
        (lease_until, queue, limit),
    ).fetchall()
    return [to_delivery(row) for row in sorted(rows, key=lambda row: int(row["position"]))]


def _release_lapsed(tx: Transaction, queue: str, now: int) -> None:
    """Make messages ready at their old place when their lease is over."""
    lapsed = f"{_DUE} AND state = 1"
    given_up = tx.execute(
        f"SELECT id, delivery FROM message WHERE {lapsed} AND lost + 1 >= ?",
        (queue, now, DELIVERY_SAFETY_NET),
    ).fetchall()
    for row in given_up:
        dead_letter(tx, Tag(*row), _LOST, now)
    tx.execute(f"UPDATE message SET state = 0, lost = lost + 1 WHERE {lapsed}", (queue, now))


def _release_delayed(tx: Transaction, queue: str, now: int) -> None:
    """Make messages ready, behind those that are, when their delay is over."""
    due = tx.execute(
        f"SELECT id FROM message WHERE {_DUE} AND state = 2 ORDER BY due_at, id",
        (queue, now),
    ).fetchall()
    for (message,) in due:
        tx.execute(
            "UPDATE message SET state = ?, position = ? WHERE id = ?",
            (READY, tx.next("position"), message),
        )


def extend(tx: Transaction, tags: Sequence[Tag], lease_until: int) -> list[Tag]:
    """Hold deliveries until `lease_until`. Returns those that are void."""
    return [tag for tag in tags if not _update(tx, tag, "due_at = ?", lease_until)]


def ack(tx: Transaction, tag: Tag) -> bool:
    """Delete a held message."""
    deleted = tx.execute("DELETE FROM message WHERE id = ? AND delivery = ? AND state = 1", tag)
    return bool(deleted.rowcount)


def retry(tx: Transaction, tag: Tag, due_at: int, failure: Failure, now: int) -> bool:
    """Make a held message ready at `due_at`, with one failed attempt more."""
    assignments = f"state = 2, due_at = ?, lost = 0, {_COUNTED}"
    return _update(tx, tag, assignments, due_at, *astuple(failure), now, now)


def defer(tx: Transaction, tag: Tag, due_at: int) -> bool:
    """Make a held message ready at `due_at`."""
    return _update(tx, tag, "state = 2, due_at = ?, lost = 0", due_at)


def dead_letter(tx: Transaction, tag: Tag, failure: Failure, now: int) -> bool:
    """Make a held message a dead letter."""
    return _update(tx, tag, f"state = 3, due_at = 0, {_COUNTED}", *astuple(failure), now, now)


def requeue(tx: Transaction, tag: Tag, *, lost: bool = False) -> bool:
    """Make a held message ready at its old place.

    Args:
        lost: its consumer did not settle it: the next delivery is a redelivery.
    """
    return _update(tx, tag, "state = 0, lost = lost + ?", int(lost))


def counts(connection: sqlite3.Connection, queue: str, now: int) -> QueueCounts:
    """Return how many messages are where; those whose delay or lease is over count as ready."""
    number: Counter[int] = Counter()
    for state, count in connection.execute(  # each part by its index
        "SELECT 0, count(*) FROM message WHERE queue = :queue AND state = 0"
        " UNION ALL SELECT iif(due_at <= :now, 0, state), count(*) FROM message"
        " WHERE queue = :queue AND state IN (1, 2) GROUP BY 1"
        " UNION ALL SELECT 3, count(*) FROM message WHERE queue = :queue AND state = 3",
        {"queue": queue, "now": now},
    ):
        number[state] += count
    return QueueCounts(
        ready=number[READY], held=number[HELD], delayed=number[DELAYED], dead=number[DEAD]
    )


def _update(tx: Transaction, tag: Tag, assignments: str, *values: object) -> bool:
    """Set columns of a held message and notify its queue. False if the delivery is void."""
    row = tx.execute(
        f"UPDATE message SET {assignments} WHERE id = ? AND delivery = ? AND state = 1"
        " RETURNING queue",
        (*values, *tag),
    ).fetchone()
    if row is not None:
        tx.notify(row["queue"])
    return row is not None
