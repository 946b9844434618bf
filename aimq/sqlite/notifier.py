"""Waiting for a change that any process makes: loopback datagrams, with polling behind them.

Who waits for a topic opens a UDP socket on 127.0.0.1 and lists its port in the table ``listener``.
A transaction that changes the topic reads the ports there, and sends each an empty datagram after
its commit. A datagram carries nothing and may be lost: who waits looks at the data when one comes,
and every `POLL_SECONDS` regardless.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable
from typing import Final, TypeVar

from aimq.errors import TransientError
from aimq.sqlite.database import Database
from aimq.sqlite.writer import Transaction
from aimq.times import MICRO

#: Longest wait before a look at the data, in seconds.
POLL_SECONDS: Final = 0.25
#: A listing counts for this long, in seconds.
_LISTED_SECONDS: Final = 60.0
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Notifier:
    """One waiting place. One thread at a time waits; any thread may `notify` it.

    Args:
        database: where it is listed.
        topic: what it waits for: a queue's name, or "jobs".
    """

    def __init__(self, database: Database, topic: str) -> None:
        self._database = database
        self._topic = topic
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):  # there is no loopback: polling remains
            self._socket.bind(("127.0.0.1", 0))
        self._port: int = self._socket.getsockname()[1]
        self._list_at = 0.0
        self._outage = False

    def look(self, action: Callable[[], T]) -> T | None:
        """Return what `action` reads; any change from now on ends the next `wait`.

        None, with one warning for the whole outage, if the database cannot be used; the next
        `wait` is then a pause.
        """
        self._clear()
        try:
            self._ensure_listed()
            found = action()
        except TransientError as exc:
            if not self._outage:
                _log.warning("%s: %s", self._topic, exc.detail)
            self._outage = True
            return None
        self._outage = False
        return found

    def wait(self, timeout: float) -> None:
        """Return when notified, or after `timeout` or `POLL_SECONDS`, whichever is less."""
        self._socket.settimeout(max(0.0, min(timeout, POLL_SECONDS)))
        with contextlib.suppress(OSError):  # timed out
            self._socket.recv(1)

    def notify(self) -> None:
        """End the wait of a thread of this process."""
        with contextlib.suppress(OSError):  # its buffer is full, or it is closed
            self._socket.sendto(b"", ("127.0.0.1", self._port))

    def close(self) -> None:
        """Close the socket, once nobody waits. The listing runs out by itself."""
        self._socket.close()

    def _clear(self) -> None:
        self._socket.settimeout(0)
        with contextlib.suppress(OSError):  # nothing is left to read
            while True:
                self._socket.recv(1)

    def _ensure_listed(self) -> None:
        if self._port and time.monotonic() >= self._list_at:
            self._database.write(self._list, durable=False)
            self._list_at = time.monotonic() + _LISTED_SECONDS / 2

    def _list(self, tx: Transaction) -> None:
        now = self._database.now_us()
        tx.execute("DELETE FROM listener WHERE expires_at < ?", (now,))
        tx.execute(
            "INSERT OR REPLACE INTO listener VALUES (?, ?, ?)",
            (self._port, self._topic, now + int(_LISTED_SECONDS * MICRO)),
        )
