"""pika's connections and channels as awaitables. Everything belongs to one event loop.

The reason of a loss is a `BrokerUnavailable`, with pika's exception as its cause.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pika
import pika.channel
from pika.adapters.asyncio_connection import AsyncioConnection

from aimq.broker.rabbitmq.error_mapping import unavailable
from aimq.broker.rabbitmq.parameters import address_of
from aimq.errors import BrokerUnavailable

#: Longest wait for the server's agreement to close, in seconds.
_CLOSE_SECONDS: Final = 4.0
#: pika reports the end of an attempt to connect shortly before it closes the socket, in seconds.
_SETTLE_SECONDS: Final = 0.05


class Channel:
    """A channel of pika.

    Attributes:
        raw: pika's channel, for methods without an answer.
        connection: the connection it belongs to.
    """

    def __init__(self, connection: Connection, raw: pika.channel.Channel) -> None:
        self.raw = raw
        self.connection = connection
        self._lost: asyncio.Future[BrokerUnavailable] = connection.loop.create_future()
        self._reason: BrokerUnavailable | None = None
        raw.add_on_close_callback(lambda _, exc: self._lose(exc))

    async def call(self, method: Callable[..., object], *args: object, **options: object) -> Any:  # noqa: ANN401 # a frame of the method's own type
        """Call a method of `raw` that takes a callback; return what the callback is given.

        Raises:
            BrokerUnavailable: the channel is lost before the answer.
        """
        answer: asyncio.Future[object] = self.connection.loop.create_future()
        if self.raw.is_open:
            method(*args, callback=lambda frame: _resolve(answer, frame), **options)
        return await self.answer(answer)

    async def answer(self, future: asyncio.Future[Any]) -> Any:  # noqa: ANN401 # as above
        """Wait for a future. Raises `BrokerUnavailable` if the channel is lost before."""
        await _first(future, self._lost)
        if future.done():
            return future.result()
        raise self._lost.result()

    async def lost(self) -> BrokerUnavailable:
        """Wait until the channel is closed, by either side; return the reason."""
        await _first(self._lost)
        return self._lost.result()

    def close(self, reason: str | None = None) -> None:
        """Close it, for a reason that `lost` returns. Idempotent."""
        if self.raw.is_open:
            self._reason = BrokerUnavailable(reason) if reason else None
            self.raw.close()

    def _lose(self, exc: BaseException) -> None:
        _resolve(self._lost, self._reason or unavailable(exc, self.connection.address))


class Connection:
    """A connection of pika.

    Attributes:
        address: ``host:port/vhost``.
        blocked: why the server takes no messages for now; None while it does.
    """

    def __init__(self, parameters: pika.ConnectionParameters) -> None:
        self.loop = asyncio.get_running_loop()
        self.address = address_of(parameters)
        self._opened: asyncio.Future[None] = self.loop.create_future()
        self._lost: asyncio.Future[BrokerUnavailable] = self.loop.create_future()
        self.blocked: str | None = None
        self._raw = AsyncioConnection(
            parameters,
            on_open_callback=lambda _: _resolve(self._opened, None),
            on_open_error_callback=lambda _, exc: self._lose(exc),
            on_close_callback=lambda _, exc: self._lose(exc),
            custom_ioloop=self.loop,
        )
        self._raw.add_on_connection_blocked_callback(
            lambda _, frame: self._block(frame.method.reason)
        )
        self._raw.add_on_connection_unblocked_callback(lambda *_: self._block(None))

    @property
    def is_open(self) -> bool:
        """True between `opened` and the beginning of the end."""
        return bool(self._raw.is_open)

    async def opened(self) -> None:
        """Wait until the connection is open. Raises `BrokerUnavailable` if it cannot be opened."""
        await _first(self._opened, self._lost)
        if not self._opened.done():
            raise self._lost.result()

    async def lost(self) -> BrokerUnavailable:
        """Wait until the connection is closed, by either side; return the reason."""
        await _first(self._lost)
        return self._lost.result()

    async def open_channel(self) -> Channel:
        """Return a new channel. Raises `BrokerUnavailable` if the connection is lost before."""
        if not self.is_open:
            raise await self.lost()
        opened: asyncio.Future[object] = self.loop.create_future()
        raw = self._raw.channel(on_open_callback=lambda _: _resolve(opened, None))
        channel = Channel(self, raw)
        await channel.answer(opened)
        return channel

    @contextlib.asynccontextmanager
    async def channel(self) -> AsyncIterator[Channel]:
        """Open a channel for the block. After it, the server has done all that was asked for."""
        channel = await self.open_channel()
        with contextlib.closing(channel):
            yield channel
        await channel.lost()

    async def aclose(self) -> None:
        """Close it and wait, for a bounded time, until the server agrees. Idempotent."""
        if not (self._raw.is_closing or self._raw.is_closed):
            self._raw.close()
        await asyncio.wait([self._lost], timeout=_CLOSE_SECONDS)
        if not self._opened.done():
            await asyncio.sleep(_SETTLE_SECONDS)

    def _lose(self, exc: BaseException) -> None:
        _resolve(self._lost, unavailable(exc, self.address))

    def _block(self, reason: str | None) -> None:
        self.blocked = reason


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _resolve(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)
