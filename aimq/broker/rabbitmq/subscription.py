"""A consumer's hold on one work queue of RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from pika import BasicProperties
from pika.spec import Basic

from aimq.broker.failure_history import DELIVERY_SAFETY_NET
from aimq.broker.port import Delivery, Failure
from aimq.broker.rabbitmq.acks import Outstanding
from aimq.broker.rabbitmq.awaitable import Channel
from aimq.broker.rabbitmq.connection import ReconnectingConnection
from aimq.broker.rabbitmq.headers import (
    FailureHistory,
    dead_properties,
    delivery_count,
    message_id_of,
    properties_of,
    read_history,
)
from aimq.broker.rabbitmq.loop import LoopThread
from aimq.broker.rabbitmq.publisher import Publisher
from aimq.broker.rabbitmq.queues import declare
from aimq.broker.topology import EXCHANGE, dead_queue, nearest_delay, retry_queue
from aimq.errors import AimqError, BrokerUnavailable

#: Pause before a message that could not be published elsewhere is published again, in seconds.
_AGAIN_SECONDS: Final = 1.0


@dataclass(slots=True, eq=False)
class Held:
    """The handle of a delivery: a message of one channel, and what it came with."""

    channel: Channel | None
    tag: int
    properties: BasicProperties
    history: FailureHistory
    settled: bool = False


class RabbitSubscription:
    """The Subscription port. Its public methods are thread-safe; the others run on the loop.

    Acks have no answer in AMQP. One resolves to True when it has been handed to the connection; if
    that breaks before it arrives, the message is delivered again. What is retried or dead-lettered
    is published and confirmed first and acked then, so that it may come twice but is never lost.

    Args:
        connection: the consuming connection.
        publisher: writes what is retried, deferred or dead-lettered.
    """

    def __init__(
        self,
        loop: LoopThread,
        connection: ReconnectingConnection,
        publisher: Publisher,
        queue: str,
        prefetch: int,
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._publisher = publisher
        self._queue = queue
        self._prefetch = prefetch
        self._consumer_tag = ""
        self._outstanding = Outstanding()
        self._acked: deque[tuple[Held, Future[bool]]] = deque()
        self._condition = threading.Condition()  # of what follows
        self._ready: deque[tuple[Basic.Deliver, BasicProperties, bytes]] = deque()
        self._channel: Channel | None = None
        self._acks_asked = False
        self._closed = False
        loop.start(self._run())

    def receive(self, limit: int = 1, timeout: float | None = None) -> list[Delivery]:
        """See the port."""
        with self._condition:
            self._condition.wait_for(lambda: self._ready or self._closed, timeout)
            if self._closed:  # the rest goes back to the queue
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
            self._acked.append((held, future))
            asked, self._acks_asked = self._acks_asked, True
        if not asked:
            self._loop.submit(self._send_acks)
        return future

    def retry(self, delivery: Delivery, delay: float, failure: Failure) -> Future[bool]:
        """See the port. The delay is the nearest of `aimq.broker.topology.RETRY_DELAYS`."""
        history = cast("Held", delivery.tag).history.failed(failure, datetime.now(UTC))
        return self._delay(delivery, delay, history)

    def defer(self, delivery: Delivery, delay: float) -> Future[bool]:
        """See the port. The delay is chosen like that of `retry`."""
        return self._delay(delivery, delay, cast("Held", delivery.tag).history)

    def dead_letter(self, delivery: Delivery, failure: Failure) -> Future[bool]:
        """See the port."""
        history = cast("Held", delivery.tag).history.failed(failure, datetime.now(UTC))
        properties = dead_properties(delivery.message_id, history)
        return self._move(delivery, EXCHANGE, dead_queue(self._queue), properties)

    def requeue(self, delivery: Delivery) -> Future[bool]:
        """See the port. The next delivery has ``redelivered`` set.

        Before 4.3 the server counts it like a consumer's death. A message that has come near the
        limit that way is published again instead, which starts its count again.
        """
        held = cast("Held", delivery.tag)
        if delivery_count(held.properties) >= DELIVERY_SAFETY_NET // 2:
            properties = properties_of(delivery.message_id, held.history)
            return self._move(delivery, EXCHANGE, self._queue, properties)
        future: Future[bool] = Future()
        with self._condition:
            taken = self._take(held)
        if taken:
            self._loop.submit(lambda: future.set_result(self._settle(held, requeue=True)))
        else:
            future.set_result(False)
        return future

    def close(self) -> None:
        """See the port."""
        with self._condition:
            already, self._closed = self._closed, True
            self._condition.notify_all()
        if not already:
            self._loop.submit(self._cancel)

    def _delivery(
        self,
        channel: Channel | None,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
    ) -> Delivery:
        history = read_history(properties)
        return Delivery(
            queue=self._queue,
            body=body,
            message_id=message_id_of(properties),
            attempts=history.attempts,
            redelivered=method.redelivered,
            first_failed_at=history.first_failed_at,
            tag=Held(channel, method.delivery_tag, properties, history),
        )

    def _take(self, held: Held) -> bool:
        """Note that a delivery is settled. False if it already is, or is no longer ours."""
        if held.settled or self._channel is None or held.channel is not self._channel:
            return False
        held.settled = True
        return True

    def _delay(self, delivery: Delivery, delay: float, history: FailureHistory) -> Future[bool]:
        exchange = retry_queue(nearest_delay(delay))
        properties = properties_of(delivery.message_id, history)
        return self._move(delivery, exchange, self._queue, properties)

    def _move(
        self, delivery: Delivery, exchange: str, routing_key: str, properties: BasicProperties
    ) -> Future[bool]:
        held = cast("Held", delivery.tag)
        with self._condition:
            taken = self._take(held)
        if not taken:
            gone: Future[bool] = Future()
            gone.set_result(False)
            return gone
        return self._loop.start(
            self._publish_and_ack(held, exchange, routing_key, delivery.body, properties)
        )

    async def _publish_and_ack(
        self, held: Held, exchange: str, routing_key: str, body: bytes, properties: BasicProperties
    ) -> bool:
        """Publish a held message elsewhere, until that is confirmed; then ack it.

        False if it is no longer held before that: the queue has it again.
        """
        while held.channel is not None and held.channel is self._channel:
            copy = self._publisher.send(self._queue, exchange, routing_key, body, properties)
            try:
                await asyncio.wrap_future(copy)
            except AimqError:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(held.channel.lost(), _AGAIN_SECONDS)
            else:
                self._settle(held)  # if that is too late, the message lives twice
                return True
        return False

    async def _run(self) -> None:
        async for channel in self._connection.channels():
            if self._closed:
                channel.close()
                return
            with contextlib.suppress(BrokerUnavailable):  # as `lost` tells
                await self._consume(channel)
            await channel.lost()
            with self._condition:  # the server delivers again what was held
                self._channel = None
                self._ready.clear()

    async def _consume(self, channel: Channel) -> None:
        declare(channel.raw, self._queue)
        channel.raw.add_on_cancel_callback(lambda _: channel.close(f"Queue {self._queue} is gone"))
        self._outstanding = Outstanding()
        with self._condition:
            self._channel = channel
        await channel.call(channel.raw.basic_qos, prefetch_count=self._prefetch)
        if not self._closed:
            self._consumer_tag = channel.raw.basic_consume(
                self._queue, lambda _, *message: self._receive(channel, *message)
            )

    def _receive(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        with self._condition:
            if not self._closed and channel is self._channel:
                self._outstanding.add(method.delivery_tag)
                self._ready.append((method, properties, body))
                self._condition.notify()
                return
        channel.raw.basic_nack(method.delivery_tag, requeue=True)

    def _send_acks(self) -> None:
        with self._condition:
            self._acks_asked = False
        acked = [self._acked.popleft() for _ in range(len(self._acked))]
        channel = self._channel if self._channel and self._channel.raw.is_open else None
        ours = [held.tag for held, _ in acked if held.channel is channel]
        if ours and channel is not None:
            upto, rest = self._outstanding.settle(ours)
            if upto:
                channel.raw.basic_ack(upto, multiple=True)
            for tag in rest:
                channel.raw.basic_ack(tag)
        for held, future in acked:
            future.set_result(held.channel is channel)

    def _settle(self, held: Held, *, requeue: bool = False) -> bool:
        """Ack one message, or put it back. False if its channel is lost."""
        channel = self._channel
        if channel is None or not channel.raw.is_open or held.channel is not channel:
            return False
        self._outstanding.remove(held.tag)
        if requeue:
            channel.raw.basic_nack(held.tag, requeue=True)
        else:
            channel.raw.basic_ack(held.tag)
        return True

    def _cancel(self) -> None:
        """Stop deliveries and put back those not given out. The channel stays for the rest."""
        with self._condition:
            left = list(self._ready)
            self._ready.clear()
        channel = self._channel
        if channel is None or not channel.raw.is_open:
            return
        if self._consumer_tag:
            channel.raw.basic_cancel(self._consumer_tag)
        for method, _, _ in left:
            self._outstanding.remove(method.delivery_tag)
            channel.raw.basic_nack(method.delivery_tag, requeue=True)
