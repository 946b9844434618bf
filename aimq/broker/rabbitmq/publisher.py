"""Publishing: many messages under way at once, each paired with the server's confirm."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any, Final

import pika.channel
from pika import BasicProperties
from pika.exceptions import AMQPError
from pika.frame import Method
from pika.spec import Basic

from aimq.broker.rabbitmq.awaitable import Channel
from aimq.broker.rabbitmq.connection import ReconnectingConnection
from aimq.broker.rabbitmq.loop import LoopThread
from aimq.broker.rabbitmq.queues import declare
from aimq.broker.topology import EXCHANGE
from aimq.errors import BrokerUnavailable, MessageRejected

#: Longest wait for a confirm, in seconds, the wait for a connection included.
CONFIRM_SECONDS: Final = 10.0
#: Longest wait for a confirm when the server has said that it takes no messages, in seconds.
_BLOCKED_SECONDS: Final = 1.0
_EXPIRY_SECONDS: Final = 0.5
_FLUSH_POLL_SECONDS: Final = 0.01


@dataclass(slots=True, eq=False)
class Publication:
    """One message on its way.

    Attributes:
        work_queue: queue that must exist, with those behind it, before the message is written.
        future: resolves when the server has confirmed it.
        since: when `Publisher.send` was called, by the monotonic clock.
    """

    work_queue: str
    exchange: str
    routing_key: str
    body: bytes
    properties: BasicProperties
    future: Future[None] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    def fail(self, reason: str) -> None:
        """Fail the future with `BrokerUnavailable`, unless the caller has cancelled it."""
        if self.future.running() or self.future.set_running_or_notify_cancel():
            self.future.set_exception(BrokerUnavailable(reason))


class Publisher:
    """Publishes on a connection. `send` is thread-safe; the rest belongs to the loop.

    A publication fails with `BrokerUnavailable`: at once while the server is known to be away or
    to take no messages, or when the connection breaks before the confirm (the message may have
    been stored then); after `CONFIRM_SECONDS` otherwise. What was not yet written when the
    connection broke is written on the next one.
    """

    def __init__(self, loop: LoopThread, connection: ReconnectingConnection) -> None:
        self._loop = loop
        self._connection = connection
        self._channel: Channel | None = None
        self._fault: str | None = None
        self._declared: set[str] = set()
        self._waiting: deque[Publication] = deque()
        self._unconfirmed: dict[int, Publication] = {}
        self._tag = 0
        self._running: asyncio.Task[None] | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._stopped = False

    def send(
        self,
        work_queue: str,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties,
    ) -> Future[None]:
        """Publish a message; the future resolves with the server's confirm."""
        publication = Publication(work_queue, exchange, routing_key, body, properties)
        self._loop.submit(lambda: self._accept(publication))
        return publication.future

    @property
    def blocked(self) -> str | None:
        """Why the server takes no messages for now; None while it does, or is away."""
        reason = self._channel and self._channel.connection.blocked
        if not reason:
            return None
        return (
            f"RabbitMQ at {self._connection.address} takes no messages for now ({reason}); "
            "it needs free memory or disk"
        )

    async def stop(self, seconds: float) -> None:
        """Take no more; wait up to `seconds` for what is under way, and fail the rest."""
        self._stopped = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._waiting or self._unconfirmed:  # noqa: ASYNC110 # only at the end
                    await asyncio.sleep(_FLUSH_POLL_SECONDS)
        reason = "the broker was closed before RabbitMQ confirmed the message"
        self._fail_waiting(reason)
        self._fail_unconfirmed(reason)

    async def _run(self) -> None:
        async for channel in self._connection.channels(self._refuse):
            with contextlib.suppress(BrokerUnavailable, AMQPError):  # `lost` has the reason
                await self._prepare(channel)
                self._channel, self._fault = channel, None
                self._write_waiting()
            self._note_loss(channel, (await channel.lost()).detail)

    async def _prepare(self, channel: Channel) -> None:
        self._tag = 0
        self._declared.clear()
        channel.raw.add_on_return_callback(
            lambda _, method, properties, __: self._returned(channel, method, properties)
        )
        confirmed = partial(self._confirmed, channel)
        await channel.call(lambda callback: channel.raw.confirm_delivery(confirmed, callback))

    def _note_loss(self, channel: Channel, reason: str) -> None:
        """Fail what was written. What was not waits for the next connection, if that is lost."""
        self._channel = None
        self._fail_unconfirmed(f"{reason}; it had not confirmed the message")
        if channel.connection.is_open:
            self._refuse(reason)

    def _refuse(self, reason: str) -> None:
        """Fail what waits, and what comes until there is a channel again."""
        self._fault = reason
        self._fail_waiting(reason)

    def _accept(self, publication: Publication) -> None:
        refusal = "The broker is closed" if self._stopped else self.blocked or self._fault
        if refusal is not None:
            publication.fail(refusal)
            return
        self._waiting.append(publication)
        self._write_waiting()
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        if self._expiring is None:
            self._expiring = asyncio.create_task(self._expire())

    def _write_waiting(self) -> None:
        while self._waiting and self._channel is not None and self._channel.raw.is_open:
            self._write(self._channel.raw, self._waiting.popleft())

    def _write(self, channel: pika.channel.Channel, publication: Publication) -> None:
        if not publication.future.set_running_or_notify_cancel():
            return
        if publication.work_queue not in self._declared:
            self._declared.add(publication.work_queue)
            declare(channel, publication.work_queue)
        try:
            channel.basic_publish(
                publication.exchange,
                publication.routing_key,
                publication.body,
                publication.properties,
                mandatory=True,
            )
        except Exception as exc:  # noqa: BLE001 # it does not fit AMQP, and never will
            publication.future.set_exception(MessageRejected(f"cannot be published: {exc}"))
            return
        self._tag += 1
        self._unconfirmed[self._tag] = publication

    def _confirmed(self, channel: Channel, frame: Method) -> None:
        """Resolve what a confirm is about; after a refusal, go on with another channel.

        RabbitMQ 3.10 goes on refusing all messages of a channel that was opened just when the node
        of a queue's leader was lost. It takes those of a channel opened later.
        """
        method: Any = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = list(takewhile(lambda tag: tag <= method.delivery_tag, self._unconfirmed))
        refusal = f"RabbitMQ at {self._connection.address} refused to store the message"
        for tag in tags:
            publication = self._unconfirmed.pop(tag, None)
            if publication is None:  # it has expired
                continue
            if isinstance(method, Basic.Nack):
                publication.fail(refusal)
            else:
                publication.future.set_result(None)
        if isinstance(method, Basic.Nack):
            channel.close(refusal)

    def _returned(
        self, channel: Channel, method: Basic.Return, properties: BasicProperties
    ) -> None:
        """A queue is gone; the next channel declares it again.

        The server confirms even what it has returned, right afterwards. All that is under way
        fails before that, since nothing says which of several messages with one id came back.
        """
        queue = method.routing_key if method.exchange == EXCHANGE else method.exchange
        reason = (
            f"RabbitMQ at {self._connection.address} has no queue {queue} any more "
            f"for message {properties.message_id or 'without id'} ({method.reply_text})"
        )
        self._fail_unconfirmed(reason)
        channel.close(reason)

    async def _expire(self) -> None:
        """Fail what has waited too long, until nothing is under way."""
        while self._waiting or self._unconfirmed:
            await asyncio.sleep(_EXPIRY_SECONDS)
            blocked = self.blocked
            limit = _BLOCKED_SECONDS if blocked else CONFIRM_SECONDS
            reason = blocked or (
                f"RabbitMQ at {self._connection.address} did not confirm the message "
                f"within {CONFIRM_SECONDS:g} s"
            )
            latest = time.monotonic() - limit
            while self._waiting and self._waiting[0].since <= latest:
                self._waiting.popleft().fail(reason)
            for tag in [tag for tag, each in self._unconfirmed.items() if each.since <= latest]:
                self._unconfirmed.pop(tag).fail(reason)
        self._expiring = None

    def _fail_waiting(self, reason: str) -> None:
        while self._waiting:
            self._waiting.popleft().fail(reason)

    def _fail_unconfirmed(self, reason: str) -> None:
        failed, self._unconfirmed = self._unconfirmed, {}
        for publication in failed.values():
            publication.fail(reason)
