"""A connection that is opened anew, for ever, whenever it is lost."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Callable
from typing import Final, Protocol

import pika
from pika.connection import Connection

from aimq.backoff import RetryPolicy
from aimq.broker.rabbitmq.faults import explain
from aimq.broker.rabbitmq.io import IoThread

#: Delays between attempts at connecting, in seconds; there is no last one.
_RECONNECT: Final = RetryPolicy(max_attempts=1, base_seconds=0.2, max_seconds=5.0)
_SETTLE_SECONDS: Final = 0.05
_log = logging.getLogger(__name__)


class LinkUser(Protocol):
    """Who uses a link; called on the I/O thread."""

    def link_up(self, connection: Connection) -> None:
        """The connection is open."""
        ...

    def link_down(self, reason: str) -> None:
        """An attempt at connecting has failed; the next follows by itself."""
        ...


class Link:
    """One connection of one role. Everything but the constructor belongs to the I/O thread.

    Attributes:
        connection: pika's connection while it is open, else None.
        failure: why the last attempt at connecting failed; None while it is open or first tried.
    """

    def __init__(
        self, io: IoThread, parameters: pika.ConnectionParameters, role: str, address: str
    ) -> None:
        self.connection: Connection | None = None
        self.failure: str | None = None
        self.address = address
        self._io = io
        self._role = role
        self._parameters = copy.copy(parameters)
        self._parameters.client_properties = {"connection_name": f"aimq {role}"}
        self._users: list[LinkUser] = []
        self._live: Connection | None = None  # open, being opened or being closed
        self._started = False
        self._attempts = 0
        self._closing: Callable[[], None] | None = None

    def attach(self, user: LinkUser) -> None:
        """Tell `user` of the connection from now on, and connect if nobody has asked before."""
        self._users.append(user)
        if self.connection is not None:
            user.link_up(self.connection)
        self.ensure()

    def detach(self, user: LinkUser) -> None:
        """Tell `user` no more."""
        if user in self._users:
            self._users.remove(user)

    def ensure(self) -> None:
        """Connect, unless that is under way or done."""
        if not self._started and self._closing is None:
            self._started = True
            self._connect()

    def close(self, closed: Callable[[], None]) -> None:
        """Close for good, then call `closed`."""
        self._closing = closed
        if self._live is None:
            closed()
        elif not (self._live.is_closing or self._live.is_closed):
            self._live.close()

    def _connect(self) -> None:
        if self._closing is not None:
            return
        try:
            self._live = pika.SelectConnection(
                self._parameters,
                on_open_callback=self._opened,
                on_open_error_callback=lambda _connection, exc: self._refused(exc),
                on_close_callback=lambda _connection, exc: self._lost(exc),
                custom_ioloop=self._io.loop,
            )
        except Exception as exc:  # noqa: BLE001 # whatever it is, there is no connection
            self._refused(exc)

    def _opened(self, connection: Connection) -> None:
        if self._attempts:
            _log.info("RabbitMQ at %s is back (%s)", self.address, self._role)
        self.connection = connection
        self.failure = None
        self._attempts = 0
        for user in list(self._users):
            user.link_up(connection)

    def _refused(self, exc: BaseException | str) -> None:
        self._live = None
        if self._closing is not None:
            # pika tells of an attempt that was broken off before it has closed the socket
            self._io.later(_SETTLE_SECONDS, self._closing)
            return
        reason = explain(exc, self.address)
        if reason != self.failure:
            _log.warning("%s (%s; trying again for ever)", reason, self._role)
        self.failure = reason
        self._again()
        for user in list(self._users):
            user.link_down(reason)

    def _lost(self, exc: BaseException) -> None:
        self.connection = self._live = None
        if self._closing is not None:
            self._closing()
            return
        reason = explain(exc, self.address)
        _log.warning("Connection lost (%s): %s; connecting anew", self._role, reason)
        self._again()

    def _again(self) -> None:
        self._attempts += 1
        delay = _RECONNECT.delay(self._attempts, random.random)
        self._io.later(delay, self._connect)
