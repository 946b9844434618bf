"""What an adapter uses of a database file: submit a write, write, read.

Durability: a write whose future has resolved survives the death of every process. One with
``durable=True`` is also flushed to the disk (``synchronous=FULL``) and survives a loss of power.
The others (taking, renewing and settling deliveries) may then be undone, latest first and never in
part; the message is then delivered again.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from aimq.errors import SettingsError, TransientError
from aimq.sqlite.connection import Connection
from aimq.sqlite.error_mapping import is_permanent, map_error
from aimq.sqlite.url import database_path, ensure_folder
from aimq.sqlite.writer import Transaction, Write, acquire_writer, release_writer

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Database:
    """One adapter's access to a database file. Thread-safe; many processes may have one.

    A file that cannot be used for the moment is no error at the start: each call tries again.

    Args:
        url: ``sqlite:///…``.
        variable: the setting that it comes from, for messages.
        data_dir: the data folder; it is made when missing, no other folder is.
        unavailable: the error for a file that cannot be used.

    Raises:
        SettingsError: the URL names no file, or the file cannot be opened, is damaged, or is not
            of this AIMQ.
    """

    def __init__(
        self, url: str, variable: str, data_dir: Path, unavailable: type[TransientError]
    ) -> None:
        self.path = database_path(url, variable)
        ensure_folder(self.path, variable, data_dir)
        self._unavailable = unavailable
        self._closed = False
        self._closing = threading.Lock()
        self._reading = threading.Lock()
        self._reader = Connection(self.path)
        try:
            self._reader.get()
        except sqlite3.Error as exc:
            error = map_error(exc, self.path, unavailable)
            if is_permanent(exc):
                raise SettingsError(str(error)) from exc
            _log.warning("%s", error)
        self._writer = acquire_writer(self.path)

    def submit(
        self,
        action: Callable[[Transaction], T],
        *,
        durable: bool = True,
        on_outage: T | None = None,
    ) -> Future[T]:
        """Run `action` in a transaction, on the writing thread. Does not block.

        The future resolves to what `action` returns, once that is committed, and fails with what
        it raises. When the file cannot be used, the future resolves to `on_outage`, or fails with
        the adapter's error if that is None. See `Writer` for its callbacks.
        """
        write = Write(action, durable, self._unavailable, on_outage)
        with self._closing:
            if not self._closed:
                self._writer.submit(write)
                return write.future
        write.fail(self._closed_error(), self.path)
        return write.future

    def write(self, action: Callable[[Transaction], T], *, durable: bool = True) -> T:
        """Run `action` in a transaction and return its result once that is committed."""
        if threading.current_thread() is self._writer.thread:
            raise RuntimeError("a write's callback must not wait for another write")
        return self.submit(action, durable=durable).result()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lock and give the connection for reading; SQLite's errors become the adapter's."""
        with self._reading:
            if self._closed:
                raise self._closed_error()
            try:
                yield self._reader.get()
            except (sqlite3.Error, SettingsError) as exc:
                self._reader.close()
                raise map_error(exc, self.path, self._unavailable) from exc

    def now_us(self) -> int:
        """Return the time of leases and delays in microseconds; it never blocks.

        All processes agree on it, and a step of the time of day does not move it.
        """
        return self._reader.now_us()

    def check(self) -> None:
        """Raise the adapter's error, with one clear line, unless the file can be written now."""
        self.write(lambda tx: tx.next("position"), durable=False)

    def close(self) -> None:
        """Commit what was submitted and close the file. Idempotent."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        release_writer(self._writer)
        with self._reading:
            self._reader.close()

    def _closed_error(self) -> TransientError:
        return self._unavailable(f"{self.path} was closed")
