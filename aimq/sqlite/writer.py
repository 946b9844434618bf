"""The thread of a process that writes to a database file, with group commit.

SQLite has one writer at a time, and a commit costs a flush of the disk. So the adapters of a
process share one writer per file, which commits everything that waits in one transaction.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from aimq.errors import TransientError
from aimq.sqlite.connection import Connection
from aimq.sqlite.error_mapping import is_outage, map_error

#: Most writes in one transaction, so that other processes get their turn.
_GROUP: Final = 1000


class Transaction:
    """What a write may do: run statements, draw numbers, and notify those who wait.

    A write may run a second time, in a new transaction, after the first one was rolled back.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self._topics: set[str] = set()

    def next(self, counter: str) -> int:
        """Draw the next number of a counter, greater than all drawn before by any process."""
        row = self.execute(
            "UPDATE counter SET value = value + 1 WHERE name = ? RETURNING value", (counter,)
        ).fetchone()
        return int(row[0])

    def notify(self, topic: str) -> None:
        """Wake those who wait for `topic` in any process, after the commit."""
        self._topics.add(topic)

    def listening(self) -> set[int]:
        """Return the ports of those who wait for a notified topic."""
        found = "SELECT port FROM listener WHERE topic = ?"
        return {port for topic in self._topics for (port,) in self.execute(found, (topic,))}


@dataclass(slots=True)
class Write:
    """One write, and the future that resolves after its commit.

    Attributes:
        action: what to do; the future resolves to what it returns.
        durable: the commit is flushed to the disk.
        unavailable: the adapter's error for a file that cannot be used.
        on_outage: what the future resolves to in place of that error, unless None.
    """

    action: Callable[[Transaction], Any]
    durable: bool
    unavailable: type[TransientError]
    on_outage: object = None
    future: Future[Any] = field(default_factory=Future)

    def fail(self, exc: Exception, path: Path) -> None:
        """Resolve the future after an error met with the database at `path`."""
        error = map_error(exc, path, self.unavailable)
        if error is not exc:
            error.__cause__ = exc
        if self.on_outage is not None and isinstance(error, TransientError):
            self.future.set_result(self.on_outage)
        else:
            self.future.set_exception(error)


class Writer:
    """Commits writes in the order of their submission. Thread-safe.

    Callbacks of the futures run on `thread`: they must neither block nor wait for a write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.users = 0
        self._queue: SimpleQueue[Write | None] = SimpleQueue()
        self._connection = Connection(path)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.thread = threading.Thread(target=self._run, name=f"sqlite-{path.name}", daemon=True)
        self.thread.start()

    def submit(self, write: Write) -> None:
        """Queue a write. Does not block."""
        self._queue.put(write)

    def close(self) -> None:
        """Commit what was submitted, then close the file. Nothing may be submitted afterwards."""
        self._queue.put(None)
        self.thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            waiting = [self._queue.get()]
            while len(waiting) < _GROUP and not self._queue.empty():
                waiting.append(self._queue.get())
            closing = waiting[-1] is None
            self._commit([w for w in waiting if w and w.future.set_running_or_notify_cancel()])
        self._connection.close()
        self._socket.close()

    def _commit(self, group: Sequence[Write]) -> None:
        try:
            results, ports = self._attempt(group)
        except Exception as exc:  # noqa: BLE001 # the futures carry it
            self._recover(group, exc)
            return
        for port in ports:
            with contextlib.suppress(OSError):  # its buffer is full: it is about to look
                self._socket.sendto(b"", ("127.0.0.1", port))
        for write, result in zip(group, results, strict=True):
            write.future.set_result(result)

    def _attempt(self, group: Sequence[Write]) -> tuple[list[Any], set[int]]:
        connection = self._connection.get()
        mode = "FULL" if any(write.durable for write in group) else "NORMAL"
        connection.execute(f"PRAGMA synchronous = {mode}")
        with connection:  # commits, or rolls back
            connection.execute("BEGIN IMMEDIATE")
            transaction = Transaction(connection)
            return [write.action(transaction) for write in group], transaction.listening()

    def _recover(self, group: Sequence[Write], exc: Exception) -> None:
        if is_outage(exc):
            self._connection.close()
        elif len(group) > 1:  # one of them is at fault: each alone
            for write in group:
                self._commit([write])
            return
        for write in group:
            write.fail(exc, self.path)


_writers: Final[dict[Path, Writer]] = {}
_writers_lock: Final = threading.Lock()
os.register_at_fork(after_in_child=_writers.clear)  # a fork does not have their threads


def acquire_writer(path: Path) -> Writer:
    """Return this process's writer for a file; each call needs one `release_writer`."""
    with _writers_lock:
        writer = _writers.get(path) or _writers.setdefault(path, Writer(path))
        writer.users += 1
        return writer


def release_writer(writer: Writer) -> None:
    """Give a writer back; the last user closes it, which commits what was submitted."""
    with _writers_lock:
        writer.users -= 1
        if writer.users:
            return
        _writers.pop(writer.path, None)
    writer.close()
