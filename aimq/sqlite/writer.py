"""The one writing connection of a process to a database file, with group commit."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar, Final

from aimq.sqlite.connection import Opened, open_file, retry_while_busy
from aimq.sqlite.failures import is_outage

#: Most writes in one transaction, so that other processes get their turn.
_GROUP: Final = 1000
_log = logging.getLogger(__name__)


class Transaction:
    """What a write may do: run statements, draw numbers, and ring for those who wait.

    A write may run more than once, each time in a new transaction whose forerunner was undone.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._counters: dict[str, int] = {}
        self._topics: set[str] = set()
        self.execute = connection.execute

    def next(self, counter: str) -> int:
        """Draw the next number of a counter: greater than all drawn before, by any process."""
        value = self._counters.get(counter)
        if value is None:
            row = self.execute("SELECT value FROM counter WHERE name = ?", (counter,)).fetchone()
            value = int(row[0])
        self._counters[counter] = value + 1
        return value + 1

    def ring(self, topic: str) -> None:
        """Wake those who wait for `topic`, once this is committed."""
        self._topics.add(topic)

    def finish(self) -> list[int]:
        """Store the counters. Returns the ports to ring after the commit."""
        for name, value in self._counters.items():
            self.execute("UPDATE counter SET value = ? WHERE name = ?", (value, name))
        if not self._topics:
            return []
        marks = ",".join("?" * len(self._topics))
        found = self.execute(
            f"SELECT DISTINCT port FROM listener WHERE topic IN ({marks})",  # noqa: S608 # marks
            tuple(self._topics),
        )
        return [port for (port,) in found]


class Write:
    """One write that waits for its commit.

    Args:
        action: what to do; what it returns is the future's result.
        durable: flushed to the disk, too.
        recover: given an error, returns what the future resolves to, or raises what it fails with.
    """

    __slots__ = ("_error", "_result", "action", "durable", "future", "recover", "started")

    def __init__(
        self,
        action: Callable[[Transaction], Any],
        *,
        durable: bool,
        recover: Callable[[Exception], Any],
    ) -> None:
        self.action = action
        self.durable = durable
        self.recover = recover
        self.future: Future[Any] = Future()
        self.started = False
        self._result: Any = None
        self._error: Exception | None = None

    def start(self) -> bool:
        """Tell whether it is still wanted; from then on it cannot be cancelled."""
        self.started = True
        return self.future.set_running_or_notify_cancel()

    def succeed(self, result: Any) -> None:  # noqa: ANN401 # whatever the action returned
        """Note what it returned; `resolve` tells."""
        self._result = result

    def fail(self, error: Exception) -> None:
        """Note how it failed; `resolve` tells."""
        self._error = error

    def resolve(self) -> None:
        """Tell whoever waits."""
        try:
            result = self._result if self._error is None else self.recover(self._error)
        except Exception as exc:  # noqa: BLE001 # the future carries it
            self.future.set_exception(exc)
        else:
            self.future.set_result(result)


class Writer:
    """Commits writes in the order they came. Thread-safe. Shared by all users of a file.

    Futures fail with `sqlite3.Error`, `SettingsError` (not our database) or what the write raised.
    """

    _shared: ClassVar[dict[tuple[int, Path], Writer]] = {}
    _shared_lock: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def of(cls, path: Path) -> Writer:
        """Return this process's writer for a file; each call needs a `release` of its own."""
        with cls._shared_lock:
            key = (os.getpid(), path)  # what a fork inherits is not to be used
            writer = cls._shared.get(key) or cls._shared.setdefault(key, Writer(path))
            writer._users += 1  # noqa: SLF001 # its own class
            return writer

    def release(self) -> None:
        """Give it back; after the last one, what waits is committed and the file closed."""
        with self._shared_lock:
            self._users -= 1
            if self._users:
                return
            self._shared.pop((os.getpid(), self._path), None)
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._finish()
        self._bell.close()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._users = 0
        self._waiting: deque[Write] = deque()
        self._wake = threading.Event()
        self._committing = threading.Lock()
        self._opened: Opened | None = None
        self._synchronous = ""
        self._closing = False
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.Lock()
        self._bell = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._bell.setblocking(False)

    def submit(self, write: Write) -> None:
        """Queue a write for the writing thread. Does not block."""
        self._waiting.append(write)
        if not self._wake.is_set():
            self._wake.set()
        if self._closing:  # too late for the thread
            self._finish()
        elif self._thread is None:
            self._start_thread()

    def run(self, write: Write) -> None:
        """Commit a write, and all that waits, on this thread, unless another has begun to."""
        self._waiting.append(write)
        while not write.started:
            self._commit_waiting()
        if self._closing:
            self._finish()

    def _start_thread(self) -> None:
        with self._thread_lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name=f"sqlite-{self._path.name}", daemon=True
                )
                self._thread.start()

    def _work(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self._commit_waiting()

    def _finish(self) -> None:
        while self._waiting:
            self._commit_waiting()
        with self._committing:
            self._disconnect()

    def _commit_waiting(self) -> None:
        group: list[Write] = []
        try:
            with self._committing:
                while self._waiting and len(group) < _GROUP:
                    write = self._waiting.popleft()
                    if write.start():
                        group.append(write)
                if group:
                    self._commit(group)
        except BaseException:  # Ctrl-C on this thread: the others' writes are in the group, too
            for write in group:
                write.fail(sqlite3.InterfaceError("interrupted"))
            raise
        finally:
            for write in group:  # apart from the lock: callbacks may write
                write.resolve()

    def _commit(self, group: Sequence[Write]) -> None:
        try:
            results, ports = self._attempt(group)
        except Exception as exc:  # noqa: BLE001 # handed to whoever waits for the write
            outage = isinstance(exc, sqlite3.Error) and is_outage(exc)
            if outage:
                self._disconnect()
            if outage or len(group) == 1:
                for write in group:
                    write.fail(exc)
            else:  # one of them is at fault: each by itself
                for write in group:
                    self._commit([write])
            return
        self._ring(ports)
        for write, result in zip(group, results, strict=True):
            write.succeed(result)

    def _attempt(self, group: Sequence[Write]) -> tuple[list[Any], list[int]]:
        connection = self._connect()
        self._set_synchronous(connection, any(write.durable for write in group))
        retry_while_busy(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            transaction = Transaction(connection)
            results = [write.action(transaction) for write in group]
            ports = transaction.finish()
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:  # a full disk has undone it already
                    connection.execute("ROLLBACK")
            raise
        return results, ports

    def _connect(self) -> sqlite3.Connection:
        if self._opened is not None and not self._opened.is_current(self._path):
            _log.warning("%s was deleted or replaced while in use; opening it anew", self._path)
            self._disconnect()
        if self._opened is None:
            self._synchronous = ""
            self._opened = open_file(self._path)
        return self._opened.connection

    def _disconnect(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.connection.close()

    def _set_synchronous(self, connection: sqlite3.Connection, durable: bool) -> None:  # noqa: FBT001 # what it sets
        mode = "FULL" if durable else "NORMAL"
        if mode != self._synchronous:
            connection.execute(f"PRAGMA synchronous = {mode}")
            self._synchronous = mode

    def _ring(self, ports: Sequence[int]) -> None:
        for port in ports:
            with contextlib.suppress(OSError):  # its buffer is full: it will look anyhow
                self._bell.sendto(b"", ("127.0.0.1", port))
