"""Listing dead letters, and taking one out of its queue.

AMQP can only look by taking and putting back. Meanwhile others would find the queue empty, so of
all processes one at a time does so: it holds an exclusive queue as a lock, which the server
removes when its holder's connection ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from pika.spec import Basic

from aimq.broker.port import DeadMessage
from aimq.broker.rabbitmq.awaitable import Channel
from aimq.broker.rabbitmq.headers import read_dead_letter
from aimq.broker.topology import dead_queue

#: The server removes a lock that its holder has forgotten after this long, in milliseconds.
_LOCK_EXPIRES: Final = 30_000


async def browse(channel: Channel, queue: str, limit: int) -> list[DeadMessage]:
    """Return the oldest dead letters of a work queue and leave them there."""
    found: list[DeadMessage] = []
    async with _reading(channel, queue) as reader:
        while len(found) < limit and (dead := await reader.next()) is not None:
            found.append(dead)
    return found


async def take(
    channel: Channel,
    queue: str,
    dead_letter_id: str,
    store: Callable[[DeadMessage], Awaitable[None]] | None = None,
) -> DeadMessage | None:
    """Take a dead letter out of its queue and return it; None when there is no such id.

    Args:
        store: stores it elsewhere; it is taken out once that has succeeded.
    """
    async with _reading(channel, queue) as reader:
        while (dead := await reader.next()) is not None and dead.id != dead_letter_id:
            pass
        if dead is not None:
            if store is not None:
                await store(dead)
            reader.remove_last()
    return dead


@contextlib.asynccontextmanager
async def _reading(channel: Channel, queue: str) -> AsyncIterator[_Reader]:
    """Lock out all other readers for the block, and put back what was read and not removed.

    The server closes the channel with ``RESOURCE_LOCKED`` if another reader is at work.
    """
    lock = f"{dead_queue(queue)}.lock"
    arguments = {"x-queue-type": "classic", "x-expires": _LOCK_EXPIRES}
    await channel.call(channel.raw.queue_declare, lock, exclusive=True, arguments=arguments)
    reader = _Reader(channel, queue)
    try:
        yield reader
    finally:
        if channel.raw.is_open:
            reader.put_back()
            channel.raw.queue_delete(lock)


class _Reader:
    """Takes one dead letter after another, and holds them."""

    def __init__(self, channel: Channel, queue: str) -> None:
        self._channel = channel
        self._queue = queue
        self._tag = 0
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        channel.raw.add_callback(
            lambda _: self._answer.set_result(None), [Basic.GetEmpty], one_shot=False
        )

    async def next(self) -> DeadMessage | None:
        """Take the next one; None at the end."""
        self._answer = asyncio.get_running_loop().create_future()
        self._channel.raw.basic_get(
            dead_queue(self._queue), lambda _, *message: self._answer.set_result(message)
        )
        message = await self._channel.answer(self._answer)
        if message is None:
            return None
        method, properties, body = message
        self._tag = method.delivery_tag
        return read_dead_letter(self._queue, properties, body)

    def remove_last(self) -> None:
        """Delete the one taken last."""
        self._channel.raw.basic_ack(self._tag)

    def put_back(self) -> None:
        """Put back all that are held, in their old order."""
        if self._tag:
            self._channel.raw.basic_nack(0, multiple=True, requeue=True)
