"""Connections of one event loop to RedisAI: one command at a time on each, the last used first.

A connection is opened by `redis.asyncio` (address, TLS, authentication). Commands and replies then
pass through a protocol of our own: its streams, its pool and its timeouts cost a task, two timers
and several turns of the event loop a command, as much as the exchange itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from redis import exceptions as redis_errors
from redis.asyncio.connection import BaseParser

_CLOSED = "Connection closed by server."


class Exchange(asyncio.Protocol):
    """An open connection: a command, its reply, the next command. Made by `Exchange.open`.

    A command that is cancelled or late closes it: the reply may still come, and would be taken for
    that of the next one. So does a reply that nobody waits for.
    """

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - publishes no types
        self._connection = connection  # it would close its transport when it is collected
        self._transport: asyncio.Transport = connection._writer.transport  # noqa: SLF001
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=redis_errors.InvalidResponse, replyError=BaseParser.parse_error
        )
        self._reply: asyncio.Future[Any] | None = None
        self._transport.set_protocol(self)

    @classmethod
    async def open(cls, connection: Any) -> Exchange:  # noqa: ANN401 - as above
        """Connect and authenticate a `redis.asyncio` connection, and take it over.

        Raises:
            redis.RedisError, OSError: why it cannot be had.
        """
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return cls(connection)

    async def ask(self, command: bytes, deadline: float) -> Any:  # noqa: ANN401 - any reply
        """Send a packed command and return its reply. One at a time.

        Args:
            deadline: when to give up, by the event loop's clock.

        Raises:
            TimeoutError: no answer in time.
            redis.ConnectionError: the connection is closed.
            redis.InvalidResponse: no Redis answered.
        """
        if self._transport.is_closing():
            raise redis_errors.ConnectionError(_CLOSED)
        self._reply = reply = self._loop.create_future()
        late = self._loop.call_at(deadline, self._fail, TimeoutError())  # cheaper than a timeout()
        try:
            self._transport.write(command)
            return await reply
        except BaseException:
            self.close()
            raise
        finally:
            late.cancel()

    def close(self) -> None:
        """Close at once. Idempotent."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand a whole reply to whoever waits for it."""
        self._reader.feed(data)
        try:
            reply = self._reader.gets()
        except redis_errors.InvalidResponse as exc:
            self._fail(exc)
            return
        if reply is False:
            return
        waiting, self._reply = self._reply, None
        if waiting is None or waiting.done() or self._reader.has_data():
            self.close()  # a second reply to one command, or a late one
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for a reply."""
        self._fail(redis_errors.ConnectionError(str(exc or _CLOSED)))

    def _fail(self, exc: Exception) -> None:
        self.close()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(exc)


class Connections:
    """A bounded set of connections. Belongs to the event loop it is used on.

    Args:
        connect: returns a new, unconnected connection of `redis.asyncio`.
        limit: most connections; further commands wait for one.
        timeout: longest wait for an answer in seconds, connecting and waiting included.
    """

    def __init__(self, connect: Callable[[], Any], *, limit: int, timeout: float) -> None:
        self._connect = connect
        self._timeout = timeout
        self._free = asyncio.Semaphore(limit)
        self._idle: list[Exchange] = []

    async def ask(self, arguments: Sequence[Any]) -> Any:  # noqa: ANN401 - whatever the server sends
        """Send one command that may safely be sent twice, and return its reply.

        A connection that turns out to have been closed since it was last used is replaced, once.

        Raises:
            TimeoutError: no answer in time.
            redis.RedisError: what the server answered, or why it could not be asked.
        """
        command = hiredis.pack_command(tuple(arguments))  # four times as fast as redis-py's
        deadline = asyncio.get_running_loop().time() + self._timeout
        if self._free.locked():
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        else:
            await self._free.acquire()  # at once
        try:
            return await self._ask(command, deadline)
        finally:
            self._free.release()

    async def _ask(self, command: bytes, deadline: float) -> Any:  # noqa: ANN401 - as above
        if self._idle:
            try:
                return await self._answer(self._idle.pop(), command, deadline)
            except redis_errors.ConnectionError:
                self.disconnect()  # the others are as old
        async with asyncio.timeout_at(deadline):
            exchange = await Exchange.open(self._connect())
        return await self._answer(exchange, command, deadline)

    async def _answer(self, exchange: Exchange, command: bytes, deadline: float) -> Any:  # noqa: ANN401
        reply = await exchange.ask(command, deadline)
        if isinstance(reply, redis_errors.ConnectionError):  # it loads, or wants a password
            exchange.close()
            raise reply
        self._idle.append(exchange)
        if isinstance(reply, redis_errors.ResponseError):
            raise reply
        return reply

    def disconnect(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()
