"""Connections of one event loop to RedisAI: one command at a time on each, the last used first.

The connections are `redis.asyncio`'s own (address, TLS, authentication, parsing). Its pool and its
timeouts are not used: they cost a task and two timers a command, as much as the exchange itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from redis import exceptions as redis_errors


class Connections:
    """A bounded set of connections. Belongs to the event loop it is used on.

    Args:
        connect: returns a new, unconnected connection.
        limit: most connections; further commands wait for one.
        timeout: longest wait for an answer in seconds, connecting and waiting included.
    """

    def __init__(self, connect: Callable[[], Any], *, limit: int, timeout: float) -> None:
        self._connect = connect
        self._timeout = timeout
        self._free = asyncio.Semaphore(limit)
        self._idle: list[Any] = []

    async def ask(self, arguments: Sequence[Any]) -> Any:  # noqa: ANN401 - whatever the server sends
        """Send one command that may safely be sent twice, and return its reply.

        A connection that turns out to have been closed since it was last used is replaced, once.

        Raises:
            TimeoutError: no answer in time.
            redis.RedisError: what the server answered, or why it could not be asked.
        """
        command = hiredis.pack_command(tuple(arguments))  # four times as fast as redis-py's
        async with asyncio.timeout(self._timeout), self._free:
            if self._idle:
                try:
                    return await self._exchange(self._idle.pop(), command)
                except redis_errors.ConnectionError:
                    await self.disconnect()  # the others are as old
            return await self._exchange(self._connect(), command)

    async def _exchange(self, connection: Any, command: bytes) -> Any:  # noqa: ANN401
        try:
            await connection.send_packed_command(command)
            reply = await connection.read_response(disconnect_on_error=False)
        except redis_errors.ResponseError:
            self._idle.append(connection)
            raise
        except BaseException:
            # Cancelled or late: the reply may still come, and would answer the next command.
            await connection.disconnect(nowait=True)
            raise
        self._idle.append(connection)
        return reply

    async def disconnect(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)
