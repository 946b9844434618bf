"""Dead letters in the ``message`` table: rows in state DEAD."""

from __future__ import annotations

import sqlite3
from typing import Final

from aimq.broker.failure_history import decode_history, encode_history, replayed_history
from aimq.broker.port import DeadMessage, Failure
from aimq.sqlite.migrations import READY
from aimq.sqlite.times import from_us_or_none
from aimq.sqlite.writer import Transaction

_SELECT: Final = (
    "SELECT id, queue, body, message_id, error, error_type, traceback, unprocessable, attempts,"
    " first_failed_at, last_failed_at, history FROM message WHERE queue = ? AND state = 3"
)
#: Longest decimal that fits the id column.
_ID_DIGITS: Final = 18


def oldest(connection: sqlite3.Connection, queue: str, limit: int) -> list[DeadMessage]:
    """Return the dead letters of a queue, by when they died."""
    rows = connection.execute(f"{_SELECT} ORDER BY last_failed_at, id LIMIT ?", (queue, limit))
    return [_letter(*row) for row in rows]


def replay(tx: Transaction, queue: str, letter_id: str) -> DeadMessage | None:
    """Put a dead letter at the end of its queue, attempts reset, history kept."""
    letter = _find(tx, queue, letter_id)
    if letter is None:
        return None
    tx.execute(
        "UPDATE message SET state = ?, position = ?, attempts = 0, lost = 0, history = ?,"
        " error = NULL, error_type = NULL, traceback = NULL, unprocessable = 0,"
        " first_failed_at = NULL, last_failed_at = NULL WHERE id = ?",
        (READY, tx.next("position"), encode_history(replayed_history(letter)), int(letter_id)),
    )
    tx.ring(queue)
    return letter


def discard(tx: Transaction, queue: str, letter_id: str) -> DeadMessage | None:
    """Delete a dead letter."""
    letter = _find(tx, queue, letter_id)
    if letter is not None:
        tx.execute("DELETE FROM message WHERE id = ?", (int(letter_id),))
    return letter


def _find(tx: Transaction, queue: str, letter_id: str) -> DeadMessage | None:
    if not letter_id.isdecimal() or len(letter_id) > _ID_DIGITS:
        return None
    row = tx.execute(f"{_SELECT} AND id = ?", (queue, int(letter_id))).fetchone()
    return None if row is None else _letter(*row)


def _letter(  # the columns of _SELECT
    row_id: int,
    queue: str,
    body: bytes,
    message_id: str,
    error: str | None,
    error_type: str | None,
    traceback: str | None,
    unprocessable: int,
    attempts: int,
    first_failed_at: int | None,
    last_failed_at: int | None,
    history: str | None,
) -> DeadMessage:
    return DeadMessage(
        id=str(row_id),
        queue=queue,
        body=body,
        message_id=message_id,
        failure=Failure(
            error=error or "",
            error_type=error_type or "",
            traceback=traceback or "",
            unprocessable=bool(unprocessable),
        ),
        attempts=attempts,
        first_failed_at=from_us_or_none(first_failed_at),
        last_failed_at=from_us_or_none(last_failed_at),
        history=decode_history(history),
    )
