"""A consumer's hold on one work queue of RabbitMQ."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from pika import BasicProperties
from pika.exceptions import AMQPError
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

    channel: Channel
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
        self._channel: Channel | None = None
        self._consumer_tag = ""
        self._outstanding = Outstanding()
        self._acked: list[tuple[Held, Future[bool]]] = []
        self._condition = threading.Condition()  # of what follows
        self._ready: deque[tuple[Channel, Basic.Deliver, BasicProperties, bytes]] = deque()
        self._closed = False
        loop.start(self._run())

    def receive(self, limit: int = 1, timeout: float | None = None) -> list[Delivery]:
        """See the port."""
        with self._condition:
            self._condition.wait_for(lambda: self._ready or self._closed, timeout)
            if self._closed:  # the rest goes back to the queue
                return []
            taken = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        return [self._delivery(*each) for each in taken]

    def ack(self, delivery: Delivery) -> Future[bool]:
        """See the port."""
        future: Future[bool] = Future()
        held = cast("Held", delivery.tag)
        self._loop.submit(lambda: self._ack(held, future))
        return future

    def retry(self, delivery: Delivery, delay: float, failure: Failure) -> Future[bool]:
        """See the port. The delay is the nearest of `aimq.broker.topology.RETRY_DELAYS`."""
        history = cast("Held", delivery.tag).history.failed(failure, datetime.now(UTC))
        return self._settle(self._delay(delivery, delay, history))

    def defer(self, delivery: Delivery, delay: float) -> Future[bool]:
        """See the port. The delay is chosen like that of `retry`."""
        return self._settle(self._delay(delivery, delay, cast("Held", delivery.tag).history))

    def dead_letter(self, delivery: Delivery, failure: Failure) -> Future[bool]:
        """See the port."""
        history = cast("Held", delivery.tag).history.failed(failure, datetime.now(UTC))
        properties = dead_properties(delivery.message_id, history)
        return self._settle(self._move(delivery, EXCHANGE, dead_queue(self._queue), properties))

    def requeue(self, delivery: Delivery) -> Future[bool]:
        """See the port. The next delivery has ``redelivered`` set."""
        return self._settle(self._requeue(delivery))

    def close(self) -> None:
        """See the port."""
        with self._condition:
            already, self._closed = self._closed, True
            self._condition.notify_all()
        if not already:
            self._loop.submit(self._cancel)

    def _delivery(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
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

    def _settle(self, outcome: Coroutine[Any, Any, bool]) -> Future[bool]:
        try:
            return self._loop.start(outcome)
        except BrokerUnavailable:  # the broker is closed, which has put back what was held
            future: Future[bool] = Future()
            future.set_result(False)
            return future

    async def _run(self) -> None:
        async for channel in self._connection.channels():
            if self._closed:
                channel.close()
                return
            with contextlib.suppress(BrokerUnavailable, AMQPError):  # `lost` has the reason
                await self._consume(channel)
            await channel.lost()
            self._channel = None
            with self._condition:  # the server delivers again what was held
                self._ready.clear()

    async def _consume(self, channel: Channel) -> None:
        declare(channel.raw, self._queue)
        channel.raw.add_on_cancel_callback(lambda _: channel.close(f"Queue {self._queue} is gone"))
        self._channel, self._outstanding = channel, Outstanding()
        await channel.call(channel.raw.basic_qos, prefetch_count=self._prefetch)
        if not self._closed:
            self._consumer_tag = channel.raw.basic_consume(
                self._queue, lambda _, *message: self._receive(channel, *message)
            )

    def _receive(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        with self._condition:
            if not self._closed:
                self._outstanding.add(method.delivery_tag)
                self._ready.append((channel, method, properties, body))
                self._condition.notify()
                return
        channel.raw.basic_nack(method.delivery_tag, requeue=True)

    def _take(self, held: Held) -> bool:
        """Note that a delivery is settled. False if it already is, or is no longer held."""
        if held.settled or not self._is_held(held):
            return False
        held.settled = True
        return True

    def _is_held(self, held: Held) -> bool:
        return held.channel is self._channel and held.channel.raw.is_open

    def _ack(self, held: Held, future: Future[bool]) -> None:
        """Ack it together with all that are acked in this turn of the loop."""
        if not self._take(held):
            future.set_result(False)
            return
        if not self._acked:
            asyncio.get_running_loop().call_soon(self._send_acks)
        self._acked.append((held, future))

    def _send_acks(self) -> None:
        acked, self._acked = self._acked, []
        channel = acked[0][0].channel
        is_held = self._is_held(acked[0][0])
        if is_held:
            upto, rest = self._outstanding.settle(held.tag for held, _ in acked)
            if upto:
                channel.raw.basic_ack(upto, multiple=True)
            for tag in rest:
                channel.raw.basic_ack(tag)
        for _, future in acked:
            future.set_result(is_held)

    async def _requeue(self, delivery: Delivery) -> bool:
        """Put it back, or publish it again near the delivery limit, which starts its count again.

        Before 4.3 the server counts a message that is put back like a consumer's death.
        """
        held = cast("Held", delivery.tag)
        if delivery_count(held.properties) >= DELIVERY_SAFETY_NET // 2:
            properties = properties_of(delivery.message_id, held.history)
            return await self._move(delivery, EXCHANGE, self._queue, properties)
        if not self._take(held):
            return False
        self._outstanding.remove(held.tag)
        held.channel.raw.basic_nack(held.tag, requeue=True)
        return True

    async def _delay(self, delivery: Delivery, delay: float, history: FailureHistory) -> bool:
        exchange = retry_queue(nearest_delay(delay))
        properties = properties_of(delivery.message_id, history)
        return await self._move(delivery, exchange, self._queue, properties)

    async def _move(
        self, delivery: Delivery, exchange: str, routing_key: str, properties: BasicProperties
    ) -> bool:
        """Publish a held message elsewhere, until that is confirmed; then ack it.

        False if it is no longer held before that: the queue has it again.
        """
        held = cast("Held", delivery.tag)
        if not self._take(held):
            return False
        while held.channel is self._channel:
            copy = self._publisher.send(
                self._queue, exchange, routing_key, delivery.body, properties
            )
            try:
                await asyncio.wrap_future(copy)
            except AimqError:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(held.channel.lost(), _AGAIN_SECONDS)
            else:
                if self._is_held(held):  # otherwise the message lives twice
                    self._outstanding.remove(held.tag)
                    held.channel.raw.basic_ack(held.tag)
                return True
        return False

    def _cancel(self) -> None:
        """Stop deliveries and put back those not given out. The channel stays for the rest."""
        with self._condition:
            left = list(self._ready)
            self._ready.clear()
        if self._channel is None or not self._channel.raw.is_open:
            return
        if self._consumer_tag:
            self._channel.raw.basic_cancel(self._consumer_tag)
        for _, method, _, _ in left:
            self._outstanding.remove(method.delivery_tag)
            self._channel.raw.basic_nack(method.delivery_tag, requeue=True)
