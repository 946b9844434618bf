"""The Broker port on RabbitMQ."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Final, TypeVar

from pika.channel import Channel

from aimq.broker.port import DeadMessage, QueueCounts
from aimq.broker.rabbitmq import dead_letters
from aimq.broker.rabbitmq.control import ChannelRefused, Control, Conversation, ask
from aimq.broker.rabbitmq.faults import LOCKED, is_closed_with
from aimq.broker.rabbitmq.headers import properties_of, replay_properties
from aimq.broker.rabbitmq.io import IoThread
from aimq.broker.rabbitmq.link import Link
from aimq.broker.rabbitmq.parameters import address_of, connection_parameters
from aimq.broker.rabbitmq.publisher import CONFIRM_SECONDS, Publisher
from aimq.broker.rabbitmq.queues import QueueSpec, declare, queue_specs
from aimq.broker.rabbitmq.subscription import RabbitSubscription
from aimq.broker.topology import WORK_QUEUES, RetryStep, dead_queue, retry_steps
from aimq.errors import BrokerUnavailable
from aimq.messages import Message, encode
from aimq.settings import Settings

_CLOSE_SECONDS: Final = 5.0
_LOCK_SECONDS: Final = 15.0
_LOCK_POLL_SECONDS: Final = 0.05

Answer = TypeVar("Answer")

# Every loss of a connection is logged here once, in our words; pika logs each layer of it.
logging.getLogger("pika").setLevel(logging.CRITICAL)


class RabbitBroker:
    """Durable queues on the server at ``AIMQ_BROKER_URL`` = ``amqp://…`` or ``amqps://…``.

    Thread-safe. Nothing is connected to before it is needed; `check` tells whether it could be.

    Raises:
        SettingsError: the URL cannot be used, ever.
    """

    def __init__(self, settings: Settings) -> None:
        parameters = connection_parameters(settings)
        address = address_of(settings.broker_url)
        self._retry = (settings.retry_base_seconds, settings.retry_max_seconds)
        self._io = IoThread()
        self._publishing = Link(self._io, parameters, "publish", address)
        self._consuming = Link(self._io, parameters, "consume", address)
        self._publisher = Publisher(self._io, self._publishing, self._specs)
        self._control = Control(self._io, self._consuming)
        self._looking = threading.Lock()  # one at a time looks at dead letters
        self._lock = threading.Lock()  # of the two below
        self._subscriptions: list[RabbitSubscription] = []
        self._closed = False

    def publish(self, queue: str, message: Message) -> Future[None]:
        """See the port."""
        return self.publish_body(queue, encode(message), message.job_id)

    def publish_body(self, queue: str, body: bytes, message_id: str) -> Future[None]:
        """As `publish`, for a body that may be anything."""
        return self._publisher.send(queue, queue, body, properties_of(message_id))

    def subscribe(self, queue: str, prefetch: int) -> RabbitSubscription:
        """See the port."""
        subscription = RabbitSubscription(
            self._io,
            self._consuming,
            self._publisher,
            queue,
            self._specs(queue),
            self._steps(queue),
            prefetch,
        )
        with self._lock:
            self._subscriptions.append(subscription)
        return subscription

    def counts(self, queue: str) -> QueueCounts:
        """See the port. RabbitMQ does not tell how many are held."""
        dead = dead_queue(queue)

        def count(channel: Channel) -> Conversation[dict[str, int]]:
            specs = self._specs(queue)
            declare(channel, specs)
            found = {}
            for spec in specs:
                answer = yield ask(channel.queue_declare, spec.name, passive=True)
                found[spec.name] = answer.method.message_count
            return found

        found = self._hold(count)
        delayed = sum(found[step.queue] for step in self._steps(queue))
        return QueueCounts(ready=found[queue], held=0, delayed=delayed, dead=found[dead])

    def dead_letters(self, queue: str, limit: int = 100) -> list[DeadMessage]:
        """See the port."""
        return self._look(queue, lambda channel: dead_letters.browse(channel, queue, limit))

    def replay(self, queue: str, dead_letter_id: str) -> DeadMessage | None:
        """See the port. Confirmed on the work queue before it leaves the dead-letter queue."""

        def store(letter: DeadMessage) -> Future[None]:
            return self._publisher.send(queue, queue, letter.body, replay_properties(letter))

        return self._look(
            queue, lambda channel: dead_letters.take(channel, queue, dead_letter_id, store)
        )

    def discard(self, queue: str, dead_letter_id: str) -> DeadMessage | None:
        """See the port."""
        return self._look(queue, lambda channel: dead_letters.take(channel, queue, dead_letter_id))

    def check(self) -> None:
        """See the port."""
        for question in [self._publisher.check(queue) for queue in WORK_QUEUES]:
            question.result(2 * CONFIRM_SECONDS)  # it resolves sooner, one way or the other

    def close(self) -> None:
        """See the port."""
        with self._lock:
            already, self._closed = self._closed, True
            subscriptions = list(self._subscriptions)
        if already:
            return
        for subscription in subscriptions:
            subscription.close()
        self._publisher.close()
        self._wait(self._on_io(self._publisher.pending))
        for subscription in subscriptions:
            self._on_io(subscription.abandon)
        self._on_io(self._publisher.abandon)
        self._wait([self._closing(link) for link in (self._publishing, self._consuming)])
        self._io.stop()

    def _steps(self, queue: str) -> list[RetryStep]:
        return retry_steps(queue, *self._retry)

    def _specs(self, queue: str) -> list[QueueSpec]:
        return queue_specs(queue, self._steps(queue))

    def _look(self, queue: str, conversation: Callable[[Channel], Conversation[Answer]]) -> Answer:
        """Hold a conversation about dead letters as soon as nobody else does."""

        def prepared(channel: Channel) -> Conversation[Answer]:
            declare(channel, self._specs(queue))
            return (yield from conversation(channel))

        deadline = time.monotonic() + _LOCK_SECONDS
        with self._looking:
            while True:
                try:
                    return self._control.hold(prepared)
                except ChannelRefused as exc:
                    locked = is_closed_with(exc.__cause__, LOCKED)
                    if not locked or time.monotonic() > deadline:
                        raise BrokerUnavailable(str(exc)) from None
                time.sleep(_LOCK_POLL_SECONDS)

    def _hold(self, conversation: Callable[[Channel], Conversation[Answer]]) -> Answer:
        try:
            return self._control.hold(conversation)
        except ChannelRefused as exc:
            raise BrokerUnavailable(str(exc)) from None

    def _on_io(self, call: Callable[[], Answer]) -> Answer:
        future: Future[Answer] = Future()

        def run() -> None:
            future.set_result(call())

        self._io.submit(run)
        return future.result(_CLOSE_SECONDS)

    def _closing(self, link: Link) -> Future[None]:
        future: Future[None] = Future()
        self._io.submit(lambda: link.close(lambda: future.set_result(None)))
        return future

    @staticmethod
    def _wait(futures: Iterable[Future[None]]) -> None:
        concurrent.futures.wait(list(futures), _CLOSE_SECONDS)
