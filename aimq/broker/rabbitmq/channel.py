"""A channel that is opened anew whenever it, or its connection, is lost."""

from __future__ import annotations

import logging
import random
from typing import Final, Protocol

from pika.channel import Channel
from pika.connection import Connection

from aimq.backoff import RetryPolicy
from aimq.broker.rabbitmq.faults import explain
from aimq.broker.rabbitmq.io import IoThread
from aimq.broker.rabbitmq.link import Link

_REOPEN: Final = RetryPolicy(max_attempts=1, base_seconds=0.2, max_seconds=5.0)
_log = logging.getLogger(__name__)


class ChannelUser(Protocol):
    """Who uses a kept channel; called on the I/O thread."""

    def channel_open(self, channel: Channel) -> None:
        """A new channel is there."""
        ...

    def channel_lost(self, reason: str, *, connected: bool) -> None:
        """The channel last given is gone, with all that was under way on it.

        Args:
            connected: the connection is still there, so that it was the channel's own fault.
        """
        ...

    def link_down(self, reason: str) -> None:
        """There is no connection, and an attempt at one has failed."""
        ...


class KeptChannel:
    """Keeps a channel open on a link for one user. Belongs to the I/O thread."""

    def __init__(self, io: IoThread, link: Link, user: ChannelUser) -> None:
        self._io = io
        self._link = link
        self._user = user
        self._channel: Channel | None = None
        self._reason: str | None = None
        self._said = ""
        self._losses = 0
        self._closed = False

    def open(self) -> None:
        """Start keeping a channel."""
        self._link.attach(self)

    def close(self) -> None:
        """Close the channel and open no more."""
        self._closed = True
        self._link.detach(self)
        if self._channel is not None and self._channel.is_open:
            self._channel.close()

    def renew(self, reason: str) -> None:
        """Close the channel, for this reason; another is opened."""
        if self._channel is not None and self._channel.is_open:
            self._reason = reason
            self._channel.close()

    def proven(self) -> None:
        """Say that the channel does its work: the next loss is the first of a new row."""
        self._losses = 0
        self._said = ""

    def link_up(self, connection: Connection) -> None:
        """Open a channel on a new connection."""
        connection.channel(on_open_callback=self._opened)

    def link_down(self, reason: str) -> None:
        """Pass it on."""
        self._user.link_down(reason)

    def _opened(self, channel: Channel) -> None:
        if self._closed:
            channel.close()
            return
        self._channel = channel
        channel.add_on_close_callback(self._lost)
        self._user.channel_open(channel)

    def _lost(self, channel: Channel, exc: BaseException) -> None:
        connection: Connection = channel.connection
        if self._channel is not channel:
            return
        self._channel = None
        reason, self._reason = self._reason or explain(exc, self._link.address), None
        connected = connection.is_open
        if connected and not self._closed:
            self._losses += 1
            if reason != self._said:
                _log.warning("%s; opening another channel", reason)
            self._said = reason
            delay = _REOPEN.delay(self._losses, random.random)
            self._io.later(delay, lambda: self._reopen(connection))
        self._user.channel_lost(reason, connected=connected)

    def _reopen(self, connection: Connection) -> None:
        current = self._link.connection is connection
        if current and connection.is_open and not self._closed:
            connection.channel(on_open_callback=self._opened)
