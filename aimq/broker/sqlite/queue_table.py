"""The ``message`` table as a queue: each function is one step inside a transaction.

States and columns: `aimq.sqlite.migrations`. Times in microseconds since 1970.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from aimq.broker.failure_history import DELIVERY_SAFETY_NET
from aimq.broker.port import Delivery, Failure, QueueCounts
from aimq.sqlite.migrations import DEAD, DELAYED, HELD, READY
from aimq.sqlite.times import from_us_or_none
from aimq.sqlite.writer import Transaction

_LOST = "Every worker that took this message died; it was given up so that the others go on."


class Tag(NamedTuple):
    """Which delivery of which message: a later delivery makes it void."""

    id: int
    delivery: int


def insert(tx: Transaction, queue: str, body: bytes, message_id: str) -> None:
    """Put a message at the end of a queue."""
    tx.execute(
        "INSERT INTO message (queue, position, message_id, body) VALUES (?, ?, ?, ?)",
        (queue, tx.next("position"), message_id, body),
    )
    tx.ring(queue)


def outlook(connection: sqlite3.Connection, queue: str) -> tuple[bool, int | None]:
    """Tell whether a message is ready, and when the next delay or lease ends, if any."""
    ready, due_at = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM message WHERE queue = :queue AND state = 0),"
        " (SELECT min(due_at) FROM message WHERE queue = :queue AND state IN (1, 2))",
        {"queue": queue},
    ).fetchone()
    return bool(ready), due_at


def take(tx: Transaction, queue: str, limit: int, now: int, lease_until: int) -> list[Delivery]:
    """Hold up to `limit` ready messages, longest ready first, until `lease_until`."""
    _free_due(tx, queue, now)
    rows = tx.execute(
        "SELECT id, delivery + 1, body, message_id, attempts, lost, first_failed_at FROM message"
        " WHERE queue = ? AND state = 0 ORDER BY position LIMIT ?",
        (queue, limit),
    ).fetchall()
    for row in rows:
        tx.execute(
            "UPDATE message SET state = ?, due_at = ?, delivery = ? WHERE id = ?",
            (HELD, lease_until, row[1], row[0]),
        )
    return [
        Delivery(
            queue=queue,
            body=body,
            message_id=message_id,
            attempts=attempts,
            redelivered=lost > 0,
            first_failed_at=from_us_or_none(first_failed_at),
            tag=Tag(message, delivery),
        )
        for message, delivery, body, message_id, attempts, lost, first_failed_at in rows
    ]


def _free_due(tx: Transaction, queue: str, now: int) -> None:
    due = tx.execute(
        "SELECT id, state, lost FROM message"
        " WHERE queue = ? AND state IN (1, 2) AND due_at <= ? ORDER BY due_at, id",
        (queue, now),
    ).fetchall()
    for message, state, lost in due:
        if state == DELAYED:
            tx.execute(
                "UPDATE message SET state = ?, position = ? WHERE id = ?",
                (READY, tx.next("position"), message),
            )
        elif lost + 1 >= DELIVERY_SAFETY_NET:
            _bury(tx, message, Failure(error=_LOST, error_type="WorkerDied"), now)
        else:  # its place in the queue is still the old one: before what came later
            tx.execute(
                "UPDATE message SET state = ?, lost = lost + 1 WHERE id = ?", (READY, message)
            )


def extend(tx: Transaction, tags: list[Tag], lease_until: int) -> list[Tag]:
    """Hold deliveries until `lease_until`. Returns those that are void."""
    return [
        tag
        for tag in tags
        if not tx.execute(
            "UPDATE message SET due_at = ? WHERE id = ? AND delivery = ? AND state = 1",
            (lease_until, *tag),
        ).rowcount
    ]


def forget(tx: Transaction, tag: Tag) -> bool:
    """Delete a held message. False: the delivery is void."""
    return bool(
        tx.execute("DELETE FROM message WHERE id = ? AND delivery = ? AND state = 1", tag).rowcount
    )


def delay(
    tx: Transaction, queue: str, tag: Tag, due_at: int, failed: tuple[Failure, int] | None
) -> bool:
    """Make a held message ready at `due_at`. False: the delivery is void.

    Args:
        failed: the failure and its time, to be counted as an attempt; None counts nothing.
    """
    if not _holds(tx, tag):
        return False
    tx.execute(
        "UPDATE message SET state = ?, due_at = ?, lost = 0 WHERE id = ?", (DELAYED, due_at, tag.id)
    )
    if failed is not None:
        _note(tx, tag.id, *failed)
    tx.ring(queue)
    return True


def bury(tx: Transaction, tag: Tag, failure: Failure, now: int) -> bool:
    """Make a held message a dead letter. False: the delivery is void."""
    if not _holds(tx, tag):
        return False
    _bury(tx, tag.id, failure, now)
    return True


def put_back(tx: Transaction, queue: str, tag: Tag, *, lost: bool) -> bool:
    """Make a held message ready at its old place. False: the delivery is void.

    Args:
        lost: its consumer gave it up without a word: the next delivery is a redelivery.
    """
    found = tx.execute(
        "UPDATE message SET state = ?, lost = lost + ? WHERE id = ? AND delivery = ? AND state = 1",
        (READY, int(lost), *tag),
    ).rowcount
    if found:
        tx.ring(queue)
    return bool(found)


def counts(connection: sqlite3.Connection, queue: str, now: int) -> QueueCounts:
    """Return how many messages are where; those whose delay or lease is over count as ready."""
    number = dict.fromkeys((READY, HELD, DELAYED, DEAD), 0)
    for state, count in connection.execute(
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


def _holds(tx: Transaction, tag: Tag) -> bool:
    found = tx.execute(
        "SELECT 1 FROM message WHERE id = ? AND delivery = ? AND state = 1", tag
    ).fetchone()
    return found is not None


def _note(tx: Transaction, message: int, failure: Failure, now: int) -> None:
    tx.execute(
        "UPDATE message SET attempts = attempts + 1, error = ?, error_type = ?, traceback = ?,"
        " unprocessable = ?, first_failed_at = ifnull(first_failed_at, ?), last_failed_at = ?"
        " WHERE id = ?",
        (
            failure.error,
            failure.error_type,
            failure.traceback,
            failure.unprocessable,
            now,
            now,
            message,
        ),
    )


def _bury(tx: Transaction, message: int, failure: Failure, now: int) -> None:
    _note(tx, message, failure, now)
    tx.execute("UPDATE message SET state = ?, due_at = 0 WHERE id = ?", (DEAD, message))
