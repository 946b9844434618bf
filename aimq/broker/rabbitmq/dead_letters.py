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
    async with _alone(channel, queue):
        async for _, dead in _read(channel, queue):
            found.append(dead)
            if len(found) >= limit:
                break
    return found[:limit]


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
    async with _alone(channel, queue):
        async for tag, dead in _read(channel, queue):
            if dead.id == dead_letter_id:
                if store is not None:
                    await store(dead)
                channel.raw.basic_ack(tag)
                return dead
    return None


@contextlib.asynccontextmanager
async def _alone(channel: Channel, queue: str) -> AsyncIterator[None]:
    """Lock out all other readers for the block; then put back what was read and not acked.

    The server closes the channel with ``RESOURCE_LOCKED`` if another reader is at work.
    """
    lock = f"{dead_queue(queue)}.lock"
    arguments = {"x-queue-type": "classic", "x-expires": _LOCK_EXPIRES}
    await channel.call(channel.raw.queue_declare, lock, exclusive=True, arguments=arguments)
    try:
        yield
    finally:
        if channel.raw.is_open:
            channel.raw.basic_nack(0, multiple=True, requeue=True)
            channel.raw.queue_delete(lock)


async def _read(channel: Channel, queue: str) -> AsyncIterator[tuple[int, DeadMessage]]:
    """Yield each dead letter with its delivery tag, oldest first."""
    answer: asyncio.Future[Any]

    def resolve(_source: object, *message: object) -> None:
        answer.set_result(message)

    channel.raw.add_callback(resolve, [Basic.GetEmpty], one_shot=False)
    while True:
        answer = asyncio.get_running_loop().create_future()
        channel.raw.basic_get(dead_queue(queue), resolve)
        message = await channel.answer(answer)
        if not message:
            return
        method, properties, body = message
        yield method.delivery_tag, read_dead_letter(queue, properties, body)
