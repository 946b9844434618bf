"""A connection that is opened again, for ever, whenever it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import pika

from aimq.backoff import RetryPolicy
from aimq.broker.rabbitmq.awaitable import Channel, Connection
from aimq.broker.rabbitmq.error_mapping import unavailable
from aimq.broker.rabbitmq.parameters import address_of
from aimq.errors import BrokerUnavailable

#: Delays between attempts to connect, or to open a channel, in seconds. No attempt is the last.
_RECONNECT: Final = RetryPolicy(max_attempts=1, base_seconds=0.2, max_seconds=5.0)
_log = logging.getLogger(__name__)


class ReconnectingConnection:
    """One connection of one role, opened when first asked for. Belongs to the event loop.

    Args:
        hosts: where to connect to; tried in turn, each time from the first one.
        role: part of the connection's name on the server, and of log lines.

    Attributes:
        address: ``host:port/vhost`` of the host in use, or last tried.
        failure: why no host could be connected to; None while one is, or is first tried.
    """

    def __init__(self, hosts: Sequence[pika.ConnectionParameters], role: str) -> None:
        self.address = address_of(hosts[0])
        self.failure: str | None = None
        self._hosts = [copy.copy(host) for host in hosts]
        for host in self._hosts:
            host.client_properties = {"connection_name": f"aimq {role}"}
        self._role = role
        self._opened: asyncio.Future[Connection] | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> Connection:
        """Wait for the connection, or for the outcome of the next attempt.

        Raises:
            BrokerUnavailable: that attempt failed.
        """
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._run())
        return await asyncio.shield(self._opened)

    @contextlib.asynccontextmanager
    async def channel(self) -> AsyncIterator[Channel]:
        """Open a channel for the block.

        Raises:
            BrokerUnavailable: at once if the last attempt to connect failed.
        """
        if self.failure is not None:
            raise BrokerUnavailable(self.failure)
        async with (await self.open()).channel() as channel:
            yield channel

    async def channels(
        self, refuse: Callable[[str], None] = lambda _: None
    ) -> AsyncIterator[Channel]:
        """Yield a channel, and another whenever the last one is lost, for ever.

        Args:
            refuse: called with the reason whenever no host could be connected to.
        """
        losses, said = 0, ""
        while True:
            try:
                connection = await self.open()
            except BrokerUnavailable as exc:
                refuse(exc.detail)
                continue
            opened_at = time.monotonic()
            with contextlib.suppress(BrokerUnavailable):
                channel = await connection.open_channel()
                yield channel
                reason = (await channel.lost()).detail
                if not connection.is_open or time.monotonic() - opened_at > _RECONNECT.max_seconds:
                    losses, said = 0, ""
                if connection.is_open and reason != said:
                    _log.warning("%s; opening another channel", reason)
                    said = reason
            losses += 1
            await asyncio.sleep(_RECONNECT.delay(losses, random.random))

    async def close(self) -> None:
        """Close the connection and open no other."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        rounds = 0
        while True:
            rounds = 1 if await self._use_first_host() else rounds + 1
            await asyncio.sleep(_RECONNECT.delay(rounds, random.random))

    async def _use_first_host(self) -> bool:
        """Use the first host that answers until it is lost. False if none answers."""
        reasons = []
        for host in self._hosts:
            self.address = address_of(host)
            try:
                async with contextlib.aclosing(Connection(host)) as connection:
                    await connection.opened()
                    self._note_open(connection)
                    self._note_loss(await connection.lost())
            except BrokerUnavailable as exc:
                reasons.append(exc.detail)
            except Exception as exc:  # noqa: BLE001 # whatever it is, there is no connection
                reasons.append(unavailable(exc, self.address).detail)
            else:
                return True
        self._note_failure("; ".join(reasons))
        return False

    def _note_open(self, connection: Connection) -> None:
        if self.failure is not None:
            _log.info("RabbitMQ at %s is back (%s)", self.address, self._role)
        self.failure = None
        if self._opened is not None:
            self._opened.set_result(connection)

    def _note_loss(self, reason: BrokerUnavailable) -> None:
        self._opened = asyncio.get_running_loop().create_future()
        _log.warning("Connection lost (%s): %s; connecting again", self._role, reason.detail)

    def _note_failure(self, reason: str) -> None:
        if reason != self.failure:
            _log.warning("%s (%s; trying again for ever)", reason, self._role)
        self.failure = reason
        failed, self._opened = self._opened, asyncio.get_running_loop().create_future()
        if failed is not None:
            failed.set_exception(BrokerUnavailable(reason))
            failed.exception()  # marks it as seen: nobody may be waiting for it
