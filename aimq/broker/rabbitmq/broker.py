"""The Broker port on RabbitMQ."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from pika.exceptions import AMQPError

from aimq.broker.port import DeadMessage, QueueCounts
from aimq.broker.rabbitmq import dead_letters
from aimq.broker.rabbitmq.awaitable import Channel
from aimq.broker.rabbitmq.connection import ReconnectingConnection
from aimq.broker.rabbitmq.error_mapping import LOCKED, is_closed_with, unavailable
from aimq.broker.rabbitmq.former_queues import remove_former_retry_queues
from aimq.broker.rabbitmq.headers import properties_of, replay_properties
from aimq.broker.rabbitmq.loop import LoopThread
from aimq.broker.rabbitmq.parameters import connection_parameters
from aimq.broker.rabbitmq.publisher import Publisher
from aimq.broker.rabbitmq.queues import declare, queue_specs, retry_specs
from aimq.broker.rabbitmq.subscription import RabbitSubscription
from aimq.broker.topology import EXCHANGE, WORK_QUEUES, dead_queue
from aimq.errors import BrokerUnavailable
from aimq.messages import Message, encode
from aimq.settings import Settings

#: Longest wait for the answer to a question, in seconds; twice that while others look, too.
_ANSWER_SECONDS: Final = 15.0
_LOCK_POLL_SECONDS: Final = 0.05
_CLOSE_SECONDS: Final = 5.0

Result = TypeVar("Result")

# Every loss of a connection is logged here once, in our words; pika logs each layer of it.
logging.getLogger("pika").setLevel(logging.CRITICAL)


class RabbitBroker:
    """Durable queues on the servers at ``AIMQ_BROKER_URL`` = ``amqp://…`` or ``amqps://…``.

    Thread-safe. Nothing is connected to before it is needed.

    Raises:
        SettingsError: the URL cannot be used, ever.
    """

    def __init__(self, settings: Settings) -> None:
        hosts = connection_parameters(settings)
        self._loop = LoopThread()
        self._publishing = ReconnectingConnection(hosts, "publish")
        self._consuming = ReconnectingConnection(hosts, "consume")
        self._publisher = Publisher(self._loop, self._publishing)
        self._looking = asyncio.Lock()  # one at a time looks at dead letters
        self._lock = threading.Lock()  # of the two below
        self._subscriptions: list[RabbitSubscription] = []
        self._closed = False

    def publish(self, queue: str, message: Message) -> Future[None]:
        """See the port."""
        return self.publish_body(queue, encode(message), message.job_id)

    def publish_body(self, queue: str, body: bytes, message_id: str) -> Future[None]:
        """As `publish`, for a body that may be anything."""
        return self._publisher.send(queue, EXCHANGE, queue, body, properties_of(message_id))

    def subscribe(self, queue: str, prefetch: int) -> RabbitSubscription:
        """See the port."""
        subscription = RabbitSubscription(
            self._loop, self._consuming, self._publisher, queue, prefetch
        )
        self._loop.start(remove_former_retry_queues(self._consuming, queue))
        with self._lock:
            self._subscriptions.append(subscription)
        return subscription

    def counts(self, queue: str) -> QueueCounts:
        """See the port. RabbitMQ does not tell how many are held."""
        return self._ask(self._counts(queue), self._consuming, _ANSWER_SECONDS)

    def dead_letters(self, queue: str, limit: int = 100) -> list[DeadMessage]:
        """See the port."""
        return self._look(queue, lambda channel: dead_letters.browse(channel, queue, limit))

    def replay(self, queue: str, dead_letter_id: str) -> DeadMessage | None:
        """See the port. Confirmed on the work queue before it leaves the dead-letter queue."""

        async def store(dead: DeadMessage) -> None:
            properties = replay_properties(dead)
            sent = self._publisher.send(queue, EXCHANGE, queue, dead.body, properties)
            await asyncio.wrap_future(sent)

        return self._look(
            queue, lambda channel: dead_letters.take(channel, queue, dead_letter_id, store)
        )

    def discard(self, queue: str, dead_letter_id: str) -> DeadMessage | None:
        """See the port."""
        return self._look(queue, lambda channel: dead_letters.take(channel, queue, dead_letter_id))

    def check(self) -> None:
        """See the port."""
        self._ask(self._check(), self._publishing, _ANSWER_SECONDS)

    def close(self) -> None:
        """See the port."""
        with self._lock:
            already, self._closed = self._closed, True
        if already:
            return
        for subscription in self._subscriptions:
            subscription.close()
        self._loop.start(self._close()).result()
        self._loop.stop()

    async def _close(self) -> None:
        await self._publisher.stop(_CLOSE_SECONDS)
        await asyncio.gather(self._publishing.close(), self._consuming.close())

    async def _check(self) -> None:
        if self._publisher.blocked is not None:
            raise BrokerUnavailable(self._publisher.blocked)
        async with self._publishing.channel() as channel:
            for queue in WORK_QUEUES:
                declare(channel.raw, queue)
                await channel.call(channel.raw.queue_declare, queue, passive=True)

    async def _counts(self, queue: str) -> QueueCounts:
        async with self._consuming.channel() as channel:
            declare(channel.raw, queue)
            found: dict[str, int] = {}
            for spec in queue_specs(queue):
                answer = await channel.call(channel.raw.queue_declare, spec.name, passive=True)
                found[spec.name] = answer.method.message_count
        delayed = sum(found[spec.name] for spec in retry_specs())
        return QueueCounts(
            ready=found[queue], held=0, delayed=delayed, dead=found[dead_queue(queue)]
        )

    def _look(self, queue: str, look: Callable[[Channel], Awaitable[Result]]) -> Result:
        return self._ask(self._look_alone(queue, look), self._consuming, 2 * _ANSWER_SECONDS)

    async def _look_alone(self, queue: str, look: Callable[[Channel], Awaitable[Result]]) -> Result:
        """Look at dead letters as soon as nobody else does, of this process or of another."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        async with self._looking:
            while True:
                try:
                    async with self._consuming.channel() as channel:
                        declare(channel.raw, queue)
                        return await look(channel)
                except BrokerUnavailable as exc:
                    if not is_closed_with(exc, LOCKED) or time.monotonic() > deadline:
                        raise
                await asyncio.sleep(_LOCK_POLL_SECONDS)

    def _ask(
        self,
        question: Coroutine[Any, Any, Result],
        connection: ReconnectingConnection,
        seconds: float,
    ) -> Result:
        """Return the answer to a question asked on a connection, within `seconds`.

        Raises:
            BrokerUnavailable: there is none, for whatever reason.
        """
        try:
            return self._loop.start(asyncio.wait_for(question, seconds)).result()
        except AMQPError as exc:  # a channel was used that had just been lost
            raise unavailable(exc, connection.address) from None
        except TimeoutError:
            raise BrokerUnavailable(
                f"RabbitMQ at {connection.address} gave no answer within {seconds:g} s"
            ) from None
