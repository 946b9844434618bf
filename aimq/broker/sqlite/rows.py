"""A row of the ``message`` table as a delivery or a dead letter."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from aimq.broker.failure_history import decode_history
from aimq.broker.port import DeadMessage, Delivery, Failure
from aimq.times import from_us


class Tag(NamedTuple):
    """Which delivery of which message; a later delivery makes it void."""

    id: int
    delivery: int


def to_delivery(row: sqlite3.Row) -> Delivery:
    """Return the delivery of a message that was just taken."""
    return Delivery(
        queue=row["queue"],
        body=row["body"],
        message_id=row["message_id"],
        attempts=row["attempts"],
        redelivered=row["lost"] > 0,
        first_failed_at=from_us(row["first_failed_at"]),
        tag=Tag(row["id"], row["delivery"]),
    )


def to_dead_message(row: sqlite3.Row) -> DeadMessage:
    """Return the dead letter of a message that was given up."""
    return DeadMessage(
        id=str(row["id"]),
        queue=row["queue"],
        body=row["body"],
        message_id=row["message_id"],
        failure=Failure(
            error=row["error"] or "",
            error_type=row["error_type"] or "",
            traceback=row["traceback"] or "",
            unprocessable=bool(row["unprocessable"]),
        ),
        attempts=row["attempts"],
        first_failed_at=from_us(row["first_failed_at"]),
        last_failed_at=from_us(row["last_failed_at"]),
        history=decode_history(row["history"]),
    )
