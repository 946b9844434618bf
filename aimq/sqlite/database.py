"""Reading and writing the shared database; writes are committed in groups.

SQLite has one writer at a time, and a commit costs a flush of the disk. So the writes of a process
to one file, from the broker and the store alike, are gathered: whoever commits takes along
everything that waits (group commit). `submit` leaves it to a thread of its own; `write` commits on
the calling thread when nobody else is at it, which saves two changes of thread.

Durability: once a write has returned or its future has resolved, it survives the death of every
process at any moment. Those with ``durable=True`` were also flushed to the disk
(``synchronous=FULL``) and survive a loss of power; the others (taking, renewing and settling
deliveries) may then be undone, latest first and never in part, whereupon the message is
delivered again.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from aimq.errors import AimqError, InternalError, SettingsError, TransientError
from aimq.sqlite.connection import Opened, open_file
from aimq.sqlite.failures import HOPELESS, code_of, explain, is_outage
from aimq.sqlite.url import database_path
from aimq.sqlite.writer import Transaction, Write, Writer

T = TypeVar("T")
_IDLE_READERS: Final = 4
_log = logging.getLogger(__name__)


def open_database(
    url: str, variable: str, data_dir: Path, unavailable: type[TransientError]
) -> Database:
    """Open the database a URL names; the data folder, and only that, is made when missing.

    Args:
        url: ``sqlite:///…``.
        variable: the setting it comes from, for messages.
        data_dir: the data folder of the settings.
        unavailable: see `Database`.

    Raises:
        SettingsError: see `database_path` and `Database`.
    """
    path = database_path(url, variable)
    if path.parent == data_dir.absolute():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise SettingsError(
                f"AIMQ_DATA_DIR: {path.parent} cannot be made: {exc.strerror}"
            ) from exc
    if not path.parent.is_dir():
        raise SettingsError(f"{variable}: the folder {path.parent} does not exist; make it first")
    return Database(path, unavailable)


class Database:
    """One adapter's access to a database file. Thread-safe; many processes may have one.

    A file that cannot be used for the moment is no error at the start: each call tries again.

    Args:
        path: the file; made when missing, its folder is not.
        unavailable: the error for a file that cannot be used.

    Raises:
        SettingsError: a file that cannot be opened, is damaged, or is not of this AIMQ.
    """

    def __init__(self, path: Path, unavailable: type[TransientError]) -> None:
        self.path = path
        self._unavailable = unavailable
        self._idle: list[Opened] = []
        self._idle_lock = threading.Lock()
        self._closed = False
        self._try_open()
        self._writer = Writer.of(path)

    def submit(
        self,
        action: Callable[[Transaction], T],
        *,
        durable: bool = True,
        otherwise: T | None = None,
    ) -> Future[T]:
        """Have `action` run in a transaction. Does not block.

        The future resolves to what it returned once that is committed, and fails with what it
        raised. When the file cannot be used it resolves to `otherwise`, or fails with the
        adapter's error when that is None. Its callbacks must not block.
        """

        def recover(exc: Exception) -> T:
            failure = self._translated(exc)
            if otherwise is None or not isinstance(failure, TransientError):
                raise failure
            _log.warning("%s", failure.detail)
            return otherwise

        write = Write(action, durable=durable, recover=recover)
        if self._closed:
            write.fail(self._unavailable(f"{self.path} was closed"))
            write.resolve()
        else:
            self._writer.submit(write)
        return write.future

    def write(self, action: Callable[[Transaction], T], *, durable: bool = True) -> T:
        """Run `action` in a transaction and return what it returned once that is committed."""
        if self._closed:
            raise self._unavailable(f"{self.path} was closed")
        write = Write(action, durable=durable, recover=self._raise)
        self._writer.run(write)
        result: T = write.future.result()
        return result

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection for reading; SQLite's errors inside become the adapter's."""
        try:
            opened = self._reader()
            try:
                yield opened.connection
            except BaseException:
                opened.connection.close()
                raise
            self._give_back(opened)
        except (sqlite3.Error, SettingsError) as exc:
            raise self._translated(exc) from exc

    def check(self) -> None:
        """Raise, with one clear line, unless the file can be written now."""
        self.write(lambda tx: tx.next("position"), durable=False)

    def close(self) -> None:
        """Commit what was submitted and close the file. Idempotent."""
        with self._idle_lock:
            if self._closed:
                return
            self._closed = True
            idle, self._idle = self._idle, []
        for opened in idle:
            opened.connection.close()
        self._writer.release()

    def _try_open(self) -> None:
        try:
            self._give_back(open_file(self.path))
        except sqlite3.Error as exc:
            if code_of(exc) in HOPELESS:
                raise SettingsError(explain(exc, self.path)) from exc
            _log.warning("%s", explain(exc, self.path))

    def _reader(self) -> Opened:
        with self._idle_lock:
            if self._closed:
                raise self._unavailable(f"{self.path} was closed")
            opened = self._idle.pop() if self._idle else None
        if opened is not None:
            if opened.is_current(self.path):
                return opened
            opened.connection.close()
        return open_file(self.path)

    def _give_back(self, opened: Opened) -> None:
        with self._idle_lock:
            if not self._closed and len(self._idle) < _IDLE_READERS:
                self._idle.append(opened)
                return
        opened.connection.close()

    def _translated(self, exc: Exception) -> Exception:
        failure: AimqError
        if isinstance(exc, SettingsError):  # replaced by another file while in use
            failure = self._unavailable(exc.detail)
        elif isinstance(exc, sqlite3.Error):
            kind = self._unavailable if is_outage(exc) else InternalError
            failure = kind(explain(exc, self.path))
        else:
            return exc
        failure.__cause__ = exc
        return failure

    def _raise(self, exc: Exception) -> NoReturn:
        raise self._translated(exc)
