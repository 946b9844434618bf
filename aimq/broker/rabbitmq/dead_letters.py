"""Looking at, and taking from, a dead-letter queue.

AMQP can only look by taking and putting back. Meanwhile others would find the queue empty, so of
all processes one conversation at a time does so: it holds an exclusive queue as a lock, which the
server removes when its holder's connection ends.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from pika import BasicProperties
from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic

from aimq.broker.port import DeadMessage
from aimq.broker.rabbitmq.control import Conversation, ask
from aimq.broker.rabbitmq.headers import read_dead_letter
from aimq.broker.topology import dead_queue
from aimq.errors import AimqError

#: A lock whose conversation was cut short is removed after this long, in milliseconds.
_LOCK_EXPIRES: Final = 30_000


def browse(channel: Channel, queue: str, limit: int) -> Conversation[list[DeadMessage]]:
    """Return the oldest dead letters of a work queue and leave them there."""
    letters: list[DeadMessage] = []
    reader = _Reader(channel, queue)
    yield reader.lock()
    while len(letters) < limit:
        letter = yield reader.next()
        if letter is None:
            break
        letters.append(letter)
    reader.put_back()
    yield reader.unlock()
    return letters


def take(
    channel: Channel,
    queue: str,
    letter_id: str,
    store: Callable[[DeadMessage], Future[None]] | None = None,
) -> Conversation[DeadMessage | None]:
    """Take a dead letter out of its queue and return it; None when there is no such id.

    Args:
        store: stores it elsewhere; it is taken out once that has succeeded.
    """
    reader = _Reader(channel, queue)
    yield reader.lock()
    letter: DeadMessage | None = yield reader.next()
    while letter is not None and letter.id != letter_id:
        letter = yield reader.next()
    if letter is not None:
        try:
            if store is not None:
                yield store(letter)
        except AimqError:
            reader.put_back()
            yield reader.unlock()
            raise
        reader.remove_last()
    reader.put_back()
    yield reader.unlock()
    return letter


class _Reader:
    """Takes one dead letter after another, and holds them."""

    def __init__(self, channel: Channel, queue: str) -> None:
        self._channel = channel
        self._queue = queue
        self._dead = dead_queue(queue)
        self._lock = f"{self._dead}.lock"
        self._tag = 0
        self._next: Future[DeadMessage | None] = Future()
        channel.add_callback(self._end, [Basic.GetEmpty], one_shot=False)

    def lock(self) -> Future[Any]:
        """Keep all others out. The channel is closed with ``RESOURCE_LOCKED`` if one is in."""
        arguments = {"x-queue-type": "classic", "x-expires": _LOCK_EXPIRES}
        return ask(
            self._channel.queue_declare, queue=self._lock, exclusive=True, arguments=arguments
        )

    def unlock(self) -> Future[Any]:
        """Let others in; what was said before has been done by then."""
        return ask(self._channel.queue_delete, queue=self._lock)

    def next(self) -> Future[DeadMessage | None]:
        """Take the next one; None at the end."""
        self._next = Future()
        self._channel.basic_get(self._dead, self._taken)
        return self._next

    def remove_last(self) -> None:
        """Delete the one taken last."""
        self._channel.basic_ack(self._tag)

    def put_back(self) -> None:
        """Put all back that are held, in their old order."""
        if self._tag:
            self._channel.basic_nack(0, multiple=True, requeue=True)

    def _end(self, _frame: Method) -> None:
        self._next.set_result(None)

    def _taken(
        self, _channel: Channel, method: Basic.GetOk, properties: BasicProperties, body: bytes
    ) -> None:
        self._tag = method.delivery_tag
        self._next.set_result(read_dead_letter(self._queue, properties, body))
