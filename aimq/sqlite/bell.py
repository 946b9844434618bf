"""Waking processes that wait for a change: loopback datagrams, with polling behind them.

Who waits opens a UDP socket on 127.0.0.1 and lists its port in the database under a topic (table
``listener``). Who changes something reads, in the same transaction, which ports wait for it, and
sends each an empty datagram after the commit. A waiter that lists itself and then looks at the data
cannot miss a change: either it is there to see, or its maker sees the waiter.

A datagram carries nothing, so a forged one only makes the waiter look. Where none arrive (two
containers that share the folder and not the network), waiters poll every `POLL_SECONDS`.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Final

from aimq.sqlite.database import Database
from aimq.sqlite.times import MICRO, now_us
from aimq.sqlite.writer import Transaction

#: Longest sleep of a waiter before it looks for itself, in seconds.
POLL_SECONDS: Final = 0.05
#: A waiter is forgotten this long after it last waited, in seconds.
_LISTED_SECONDS: Final = 60.0


class Bell:
    """One waiter's socket. One thread at a time clears and waits; any thread may `ring` it.

    Args:
        database: where it is listed.
        topic: what it waits for: a queue's name, or "jobs".
    """

    def __init__(self, database: Database, topic: str) -> None:
        self._database = database
        self._topic = topic
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):  # no loopback here: polling has to do
            self._socket.bind(("127.0.0.1", 0))
        self._port: int = self._socket.getsockname()[1]
        self._listed_until = 0.0

    def ensure_listed(self) -> None:
        """See to it that makers of changes know of this waiter. Cheap unless it is time again.

        Raises:
            TransientError: the database cannot be written; polling goes on regardless.
        """
        if not self._port or time.monotonic() < self._listed_until - _LISTED_SECONDS / 2:
            return
        self._database.write(self._list, durable=False)
        self._listed_until = time.monotonic() + _LISTED_SECONDS

    def clear(self) -> None:
        """Forget rings so far. Call before looking at the data, so that none is lost."""
        self._socket.settimeout(0)
        with contextlib.suppress(OSError):  # nothing left to read
            while True:
                self._socket.recv(1)

    def wait(self, timeout: float) -> None:
        """Return when rung, or after `timeout` or `POLL_SECONDS`, whichever is less."""
        self._socket.settimeout(max(0.0, min(timeout, POLL_SECONDS)))
        with contextlib.suppress(OSError):  # timed out
            self._socket.recv(1)

    def ring(self) -> None:
        """Wake whoever waits on this bell in this process."""
        with contextlib.suppress(OSError):  # full of rings already, or closed
            self._socket.sendto(b"", ("127.0.0.1", self._port))

    def close(self) -> None:
        """Give the socket back, once nobody waits; the entry in the database runs out by itself."""
        self._socket.close()

    def _list(self, tx: Transaction) -> None:
        now = now_us()
        tx.execute("DELETE FROM listener WHERE expires_at < ?", (now,))
        tx.execute(
            "INSERT OR REPLACE INTO listener VALUES (?, ?, ?)",
            (self._port, self._topic, now + int(_LISTED_SECONDS * MICRO)),
        )
