"""The ``message`` table as a queue: each function is one step inside a transaction.

Columns: ``aimq/sqlite/tables``. Times are microseconds since 1970. The functions that settle a
delivery return False, and change nothing, when it is void.
"""

# ruff: noqa: S608 # only constants of ours are put into SQL; values are bound

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
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


def outlook(connection: sqlite3.Connection, queue: str) -> tuple[bool, int | None]:
    """Return whether a message is ready, and when the next delay or lease ends, if any."""
    ready, due_at = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM message WHERE queue = :queue AND state = 0),"
        " (SELECT min(due_at) FROM message WHERE queue = :queue AND state IN (1, 2))",
        {"queue": queue},
    ).fetchone()
    return bool(ready), due_at


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
    lapsed = "queue = ? AND state = 1 AND due_at <= ?"
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
        "SELECT id FROM message WHERE queue = ? AND state = 2 AND due_at <= ? ORDER BY due_at, id",
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


def retry(tx: Transaction, queue: str, tag: Tag, due_at: int, failure: Failure, now: int) -> bool:
    """Make a held message ready at `due_at`, with one failed attempt more."""
    tx.notify(queue)
    return _update(
        tx, tag, f"state = 2, due_at = ?, lost = 0, {_COUNTED}", due_at, *_counted(failure, now)
    )


def defer(tx: Transaction, queue: str, tag: Tag, due_at: int) -> bool:
    """Make a held message ready at `due_at`."""
    tx.notify(queue)
    return _update(tx, tag, "state = 2, due_at = ?, lost = 0", due_at)


def dead_letter(tx: Transaction, tag: Tag, failure: Failure, now: int) -> bool:
    """Make a held message a dead letter."""
    return _update(tx, tag, f"state = 3, due_at = 0, {_COUNTED}", *_counted(failure, now))


def requeue(tx: Transaction, queue: str, tag: Tag, *, lost: bool) -> bool:
    """Make a held message ready at its old place.

    Args:
        lost: its consumer did not settle it: the next delivery is a redelivery.
    """
    tx.notify(queue)
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
    """Set columns of a held message. False if the delivery is void."""
    updated = tx.execute(
        f"UPDATE message SET {assignments} WHERE id = ? AND delivery = ? AND state = 1",
        (*values, *tag),
    )
    return bool(updated.rowcount)


def _counted(failure: Failure, now: int) -> tuple[object, ...]:
    """Return the values of `_COUNTED`."""
    return (
        failure.error, failure.error_type, failure.traceback, failure.unprocessable, now, now,
    )  # fmt: skip
