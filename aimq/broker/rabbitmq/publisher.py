"""Publishing: any number of messages under way at once, each paired with the server's confirm."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from pika import BasicProperties
from pika.channel import Channel
from pika.connection import Connection
from pika.frame import Method
from pika.spec import Basic

from aimq.broker.rabbitmq.channel import KeptChannel
from aimq.broker.rabbitmq.io import IoThread
from aimq.broker.rabbitmq.link import Link
from aimq.broker.rabbitmq.queues import QueueSpec, declare
from aimq.broker.topology import EXCHANGE
from aimq.errors import BrokerUnavailable, MessageRejected

#: Longest wait for a confirm, in seconds, the wait for a connection included.
CONFIRM_SECONDS: Final = 10.0
#: Longest wait for a confirm when the server has said that it takes no messages, in seconds.
_BLOCKED_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 0.5


@dataclass(slots=True, eq=False)
class Publication:
    """One message on its way, or (without a body) a question whether messages can be published.

    Attributes:
        work_queue: whose queues must exist before it is sent.
        routing_key: name of the queue it is for.
        future: resolves when the server has confirmed it.
    """

    work_queue: str
    routing_key: str
    body: bytes | None
    properties: BasicProperties | None
    future: Future[None] = field(default_factory=Future)
    deadline: float = field(default_factory=lambda: time.monotonic() + CONFIRM_SECONDS)


class Publisher:
    """Publishes on the link it is given. `send` and `check` are thread-safe.

    A publication fails with `BrokerUnavailable`: at once while the server is known to be away or
    to take no messages, or when the connection breaks before the confirm (the message may have
    been stored then); after `CONFIRM_SECONDS` otherwise. What was not yet written when the
    connection broke is written on the next one.

    Args:
        specs_of: returns the queues behind a work queue.
    """

    def __init__(
        self, io: IoThread, link: Link, specs_of: Callable[[str], list[QueueSpec]]
    ) -> None:
        self._io = io
        self._specs_of = specs_of
        self._address = link.address
        self._kept = KeptChannel(io, link, self)
        self._channel: Channel | None = None
        self._connection: Connection | None = None
        self._fault: str | None = None
        self._blocked: str | None = None
        self._declared: set[str] = set()
        self._waiting: deque[Publication] = deque()
        self._unconfirmed: dict[int, Publication] = {}
        self._asking: set[Publication] = set()
        self._tag = 0
        self._opened = False
        self._sweeping = False
        self._lock = threading.Lock()  # between the callers; of the two below
        self._closed = False
        self._flushing = False

    def send(
        self, work_queue: str, routing_key: str, body: bytes, properties: BasicProperties
    ) -> Future[None]:
        """Publish to one of the queues behind `work_queue`; resolves with the confirm."""
        return self._submit(Publication(work_queue, routing_key, body, properties))

    def check(self, work_queue: str) -> Future[None]:
        """Resolves once messages can be published; fails like a publication."""
        return self._submit(Publication(work_queue, work_queue, None, None))

    def pending(self) -> list[Future[None]]:
        """Return what is under way. Only on the I/O thread."""
        found = [*self._waiting, *self._unconfirmed.values(), *self._asking]
        return [publication.future for publication in found]

    def close(self) -> None:
        """Take no more. Thread-safe; what is under way goes on."""
        with self._lock:
            self._closed = True

    def abandon(self) -> None:
        """Fail what is still under way. Only on the I/O thread, after `close`."""
        self._fail_under_way("the broker was closed before RabbitMQ confirmed the message")
        self._fail_waiting("the broker is closed")

    # On the I/O thread

    def channel_open(self, channel: Channel) -> None:
        """See `ChannelUser`."""
        self._tag = 0
        self._declared.clear()
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._ready(channel))
        if channel.connection is not self._connection:
            self._connection = channel.connection
            self._blocked = None
            self._connection.add_on_connection_blocked_callback(self._refusing)
            self._connection.add_on_connection_unblocked_callback(self._accepting)

    def channel_lost(self, reason: str, *, connected: bool) -> None:
        """See `ChannelUser`. What was not written waits for the next connection."""
        self._channel = None
        self._fault = reason if connected else None
        self._fail_under_way(f"{reason}; it had not confirmed the message")
        if connected:
            self._fail_waiting(reason)

    def link_down(self, reason: str) -> None:
        """See `ChannelUser`."""
        self._fault = reason
        self._fail_waiting(reason)

    def _ready(self, channel: Channel) -> None:
        self._channel = channel
        self._fault = None
        self._flush()

    def _submit(self, publication: Publication) -> Future[None]:
        with self._lock:
            if self._closed:
                publication.future.set_exception(BrokerUnavailable("The broker is closed"))
                return publication.future
            self._waiting.append(publication)
            asked, self._flushing = self._flushing, True
        if not asked:
            self._io.submit(self._flush)
        return publication.future

    def _flush(self) -> None:
        self._flushing = False
        if not self._opened:
            self._opened = True
            self._kept.open()
        refusal = self._blocked or self._fault
        if refusal is not None:
            self._fail_waiting(refusal)
        while self._waiting and self._channel is not None and self._channel.is_open:
            self._write(self._channel, self._waiting.popleft())
        self._watch()

    def _write(self, channel: Channel, publication: Publication) -> None:
        if not publication.future.set_running_or_notify_cancel():
            return
        if publication.work_queue not in self._declared:
            self._declared.add(publication.work_queue)
            declare(channel, self._specs_of(publication.work_queue))
        if publication.body is None:
            self._asking.add(publication)
            channel.queue_declare(
                publication.routing_key, passive=True, callback=lambda _: self._answer(publication)
            )
            return
        try:
            channel.basic_publish(
                EXCHANGE,
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

    def _answer(self, publication: Publication) -> None:
        if publication in self._asking:
            self._asking.discard(publication)
            self._kept.proven()
            publication.future.set_result(None)

    def _confirmed(self, frame: Method) -> None:
        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            last = method.delivery_tag
            tags = list(takewhile(lambda tag: tag <= last, self._unconfirmed))
        refused = isinstance(method, Basic.Nack)
        self._kept.proven()
        for tag in tags:
            publication = self._unconfirmed.pop(tag, None)
            if publication is None:  # it had expired
                continue
            if refused:
                _fail(publication, f"RabbitMQ at {self._address} refused to store the message")
            else:
                publication.future.set_result(None)

    def _returned(
        self, _channel: Channel, method: Basic.Return, properties: BasicProperties, _: bytes
    ) -> None:
        """A queue is gone; the next channel declares it anew. The server confirms even what it has
        returned, and does so next: all that is under way fails before that, since which of several
        messages with the same id came back cannot be told.
        """
        reason = (
            f"RabbitMQ at {self._address} has no queue {method.routing_key} any more for message "
            f"{properties.message_id or 'without id'} ({method.reply_text})"
        )
        self._fail_under_way(reason)
        self._kept.renew(reason)

    def _refusing(self, _connection: Connection, frame: Method) -> None:
        self._blocked = (
            f"RabbitMQ at {self._address} takes no messages for now ({frame.method.reason}); "
            "it needs free memory or disk"
        )
        self._fail_waiting(self._blocked)
        soon = time.monotonic() + _BLOCKED_SECONDS  # it may pass at once
        for each in [*self._unconfirmed.values(), *self._asking]:
            each.deadline = min(each.deadline, soon)

    def _accepting(self, *_: object) -> None:
        self._blocked = None
        self._flush()

    def _watch(self) -> None:
        if not self._sweeping and (self._waiting or self._unconfirmed or self._asking):
            self._sweeping = True
            self._io.later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        now = time.monotonic()
        reason = self._blocked or (
            f"RabbitMQ at {self._address} did not confirm the message within {CONFIRM_SECONDS:g} s"
        )
        while self._waiting and self._waiting[0].deadline <= now:
            _fail(self._waiting.popleft(), reason)
        for tag in [tag for tag, each in self._unconfirmed.items() if each.deadline <= now]:
            _fail(self._unconfirmed.pop(tag), reason)
        for each in [each for each in self._asking if each.deadline <= now]:
            self._asking.discard(each)
            _fail(each, reason)
        self._watch()

    def _fail_waiting(self, reason: str) -> None:
        while self._waiting:
            _fail(self._waiting.popleft(), reason)

    def _fail_under_way(self, reason: str) -> None:
        failed = [*self._unconfirmed.values(), *self._asking]
        self._unconfirmed.clear()
        self._asking.clear()
        for publication in failed:
            _fail(publication, reason)


def _fail(publication: Publication, reason: str) -> None:
    future = publication.future
    if future.running() or future.set_running_or_notify_cancel():
        future.set_exception(BrokerUnavailable(reason))
