"""Dead letters in the ``message`` table: rows in state DEAD."""

from __future__ import annotations

import sqlite3
from typing import Final

from aimq.broker.failure_history import encode_history, replayed_history
from aimq.broker.port import DeadMessage
from aimq.broker.sqlite.queue_table import READY
from aimq.broker.sqlite.rows import to_dead_message
from aimq.sqlite.writer import Transaction

_SELECT: Final = "SELECT * FROM message WHERE queue = ? AND state = 3"
#: Longest decimal that fits the id column.
_ID_DIGITS: Final = 18


def oldest(connection: sqlite3.Connection, queue: str, limit: int) -> list[DeadMessage]:
    """Return the dead letters of a queue, by when they were given up."""
    rows = connection.execute(f"{_SELECT} ORDER BY last_failed_at, id LIMIT ?", (queue, limit))
    return [to_dead_message(row) for row in rows]


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
    tx.notify(queue)
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
    return None if row is None else to_dead_message(row)
