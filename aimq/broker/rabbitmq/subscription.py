"""A consumer's hold on one work queue of RabbitMQ."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from pika import BasicProperties
from pika.channel import Channel
from pika.spec import Basic

from aimq.broker.failure_history import DELIVERY_SAFETY_NET
from aimq.broker.port import Delivery, Failure
from aimq.broker.rabbitmq.acks import Outstanding
from aimq.broker.rabbitmq.channel import KeptChannel
from aimq.broker.rabbitmq.headers import (
    Trail,
    dead_properties,
    delivery_count,
    message_id_of,
    properties_of,
    read_trail,
)
from aimq.broker.rabbitmq.io import IoThread
from aimq.broker.rabbitmq.link import Link
from aimq.broker.rabbitmq.publisher import Publisher
from aimq.broker.rabbitmq.queues import QueueSpec, declare, nearest_step
from aimq.broker.topology import RetryStep, dead_queue

#: Pause before a message that could not be published elsewhere is published again, in seconds.
_AGAIN_SECONDS: Final = 1.0


@dataclass(slots=True, eq=False)
class Held:
    """The handle of one delivery: which message of which channel, and what it came with."""

    channel: Channel | None
    tag: int
    properties: BasicProperties
    trail: Trail
    settled: bool = False


class RabbitSubscription:
    """The Subscription port.

    Acks have no answer in AMQP. One resolves to True when it has been handed to the connection; if
    that breaks before it arrives, the message is delivered again. What is retried or dead-lettered
    is published and confirmed first and acked then, so that it may come twice but is never lost.

    `receive` and the settling methods are thread-safe; the rest belongs to the I/O thread.

    Args:
        link: the consuming connection.
        publisher: writes what is retried, postponed or dead-lettered.
        steps: the retry queues.
    """

    def __init__(
        self,
        io: IoThread,
        link: Link,
        publisher: Publisher,
        queue: str,
        specs: list[QueueSpec],
        steps: list[RetryStep],
        prefetch: int,
    ) -> None:
        self._io = io
        self._publisher = publisher
        self._queue = queue
        self._specs = specs
        self._steps = steps
        self._prefetch = prefetch
        self._kept = KeptChannel(io, link, self)
        self._consumer_tag = ""
        self._outstanding = Outstanding()
        self._acking: deque[tuple[Held, Future[bool]]] = deque()
        self._condition = threading.Condition()  # of what follows
        self._ready: deque[tuple[Basic.Deliver, BasicProperties, bytes]] = deque()
        self._channel: Channel | None = None
        self._ack_asked = False
        self._closed = False
        io.submit(self._kept.open)

    # On any thread

    def receive(self, limit: int = 1, timeout: float | None = None) -> list[Delivery]:
        """See the port."""
        with self._condition:
            self._condition.wait_for(lambda: self._ready or self._closed, timeout)
            if self._closed:  # what is left is being put back
                return []
            taken = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
            channel = self._channel
        return [self._delivery(channel, *each) for each in taken]

    def ack(self, delivery: Delivery) -> Future[bool]:
        """See the port."""
        future: Future[bool] = Future()
        held = cast("Held", delivery.tag)
        with self._condition:
            if not self._take(held):
                future.set_result(False)
                return future
            self._acking.append((held, future))
            asked, self._ack_asked = self._ack_asked, True
        if not asked:
            self._io.submit(self._send_acks)
        return future

    def retry(self, delivery: Delivery, delay: float, failure: Failure) -> Future[bool]:
        """See the port."""
        held = cast("Held", delivery.tag)
        trail = held.trail.failed(failure, datetime.now(UTC))
        step = nearest_step(self._steps, delay).queue
        return self._move(delivery, step, properties_of(delivery.message_id, trail))

    def defer(self, delivery: Delivery, delay: float) -> Future[bool]:
        """See the port."""
        step = nearest_step(self._steps, delay).queue
        return self._move(delivery, step, self._unchanged(delivery))

    def dead_letter(self, delivery: Delivery, failure: Failure) -> Future[bool]:
        """See the port."""
        held = cast("Held", delivery.tag)
        trail = held.trail.failed(failure, datetime.now(UTC))
        properties = dead_properties(delivery.message_id, trail)
        return self._move(delivery, dead_queue(self._queue), properties)

    def requeue(self, delivery: Delivery) -> Future[bool]:
        """See the port. The next delivery says that it is one more (``redelivered``).

        Before 4.3 the server counts it like a consumer's death. A message that has come near the
        limit that way is published anew instead, which starts its count again.
        """
        held = cast("Held", delivery.tag)
        if delivery_count(held.properties) >= DELIVERY_SAFETY_NET // 2:
            return self._move(delivery, self._queue, self._unchanged(delivery))
        future: Future[bool] = Future()
        with self._condition:
            taken = self._take(held)
        if taken:
            self._io.submit(lambda: self._put_back(held, future))
        else:
            future.set_result(False)
        return future

    def close(self) -> None:
        """See the port."""
        with self._condition:
            already, self._closed = self._closed, True
            self._condition.notify_all()
        if not already:
            self._io.submit(self._cancel)

    def abandon(self) -> None:
        """Settle nothing more: the connection is being closed, which puts back what is held."""
        self.channel_lost("", connected=False)

    def _delivery(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> Delivery:
        trail = read_trail(properties)
        return Delivery(
            queue=self._queue,
            body=body,
            message_id=message_id_of(properties),
            attempts=trail.attempts,
            redelivered=method.redelivered,
            first_failed_at=trail.first_failed_at,
            tag=Held(channel, method.delivery_tag, properties, trail),
        )

    def _take(self, held: Held) -> bool:
        """Say whether a delivery is still ours and unsettled, and note that it is settled."""
        if held.settled or self._channel is None or held.channel is not self._channel:
            return False
        held.settled = True
        return True

    def _unchanged(self, delivery: Delivery) -> BasicProperties:
        return properties_of(delivery.message_id, cast("Held", delivery.tag).trail)

    def _move(
        self, delivery: Delivery, routing_key: str, properties: BasicProperties
    ) -> Future[bool]:
        """Publish it elsewhere, and ack it once that is confirmed."""
        future: Future[bool] = Future()
        held = cast("Held", delivery.tag)
        with self._condition:
            taken = self._take(held)
        if not taken:
            future.set_result(False)
            return future

        def publish() -> None:
            copy = self._publisher.send(self._queue, routing_key, delivery.body, properties)
            copy.add_done_callback(confirmed)

        def confirmed(copy: Future[None]) -> None:
            if copy.exception() is None:
                self._io.submit(lambda: self._forget(held, future))
            elif held.channel is self._channel:
                self._io.submit(lambda: self._io.later(_AGAIN_SECONDS, publish))
            else:  # the queue has it again
                future.set_result(False)

        publish()
        return future

    # On the I/O thread

    def channel_open(self, channel: Channel) -> None:
        """See `ChannelUser`."""
        if self._closed:
            self._kept.close()
            return
        declare(channel, self._specs)
        channel.add_on_cancel_callback(lambda _: self._kept.renew(f"Queue {self._queue} is gone"))
        self._outstanding = Outstanding()
        with self._condition:
            self._channel = channel
        channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _: self._consume(channel))

    def channel_lost(self, reason: str, *, connected: bool) -> None:  # noqa: ARG002 # logged there
        """See `ChannelUser`. The server delivers again what was held."""
        with self._condition:
            self._channel = None
            self._ready.clear()

    def link_down(self, reason: str) -> None:
        """See `ChannelUser`. It comes back some time."""

    def _consume(self, channel: Channel) -> None:
        if self._closed:
            return
        self._consumer_tag = channel.basic_consume(
            self._queue, self._arrived, callback=lambda _: self._kept.proven()
        )

    def _arrived(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        with self._condition:
            if not self._closed and channel is self._channel:
                self._outstanding.add(method.delivery_tag)
                self._ready.append((method, properties, body))
                self._condition.notify()
                return
        channel.basic_nack(method.delivery_tag, requeue=True)

    def _send_acks(self) -> None:
        with self._condition:
            self._ack_asked = False
        acked: list[tuple[Held, Future[bool]]] = []
        while self._acking:
            acked.append(self._acking.popleft())
        channel = self._channel
        if channel is not None and not channel.is_open:
            channel = None
        ours = [held.tag for held, _ in acked if held.channel is channel]
        if ours and channel is not None:
            upto, rest = self._outstanding.settle(ours)
            if upto:
                channel.basic_ack(upto, multiple=True)
            for tag in rest:
                channel.basic_ack(tag)
        for held, future in acked:
            future.set_result(held.channel is channel)

    def _forget(self, held: Held, future: Future[bool]) -> None:
        """Ack what lives on elsewhere; if the ack is too late, it lives twice."""
        self._if_open(held, lambda channel: channel.basic_ack(held.tag))
        future.set_result(True)

    def _put_back(self, held: Held, future: Future[bool]) -> None:
        future.set_result(
            self._if_open(held, lambda channel: channel.basic_nack(held.tag, requeue=True))
        )

    def _if_open(self, held: Held, settle: Callable[[Channel], None]) -> bool:
        channel = self._channel
        if channel is None or not channel.is_open or held.channel is not channel:
            return False
        self._outstanding.remove(held.tag)
        settle(channel)
        return True

    def _cancel(self) -> None:
        """Stop deliveries and put back those not given out. The channel stays for the rest."""
        with self._condition:
            left = list(self._ready)
            self._ready.clear()
        channel = self._channel
        if channel is None or not channel.is_open:
            self._kept.close()
            return
        if self._consumer_tag:
            channel.basic_cancel(self._consumer_tag)
        for method, _, _ in left:
            self._outstanding.remove(method.delivery_tag)
            channel.basic_nack(method.delivery_tag, requeue=True)
