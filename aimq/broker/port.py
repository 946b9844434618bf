"""The Broker port: durable work queues with delayed retries and dead letters.

Delivery is at least once: a message may come again, and handling it again must do no harm. The
claims of the job store (`aimq.jobs.port`) make that so.

All methods are thread-safe. Methods that return a `Future` never block on the network or the
disk. The others may block and must not be called on an event loop.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from aimq.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt failed. It is stored with retries and dead letters.

    Attributes:
        error: one line for a person (header ``x-error``).
        error_type: name of the exception's class (``x-error-type``).
        traceback: for the operator, never for the client (``x-traceback``).
        unprocessable: the message itself is at fault, so that it was not retried.
    """

    error: str
    error_type: str
    traceback: str = ""
    unprocessable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message, held by one subscription until it is settled.

    Attributes:
        queue: the work queue it came from.
        body: the message as bytes, undecoded: it may be anything.
        message_id: the job id for messages of ours, "" if absent.
        attempts: attempts that failed and were retried (``x-attempts``).
        redelivered: it was delivered before and not settled: its consumer died or was cut off.
        first_failed_at: when the first attempt failed, if one did.
        tag: the adapter's own handle.
    """

    queue: str
    body: bytes
    message_id: str
    attempts: int = 0
    redelivered: bool = False
    first_failed_at: datetime | None = None
    tag: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadMessage:
    """A message in a dead-letter queue, and why it is there.

    Attributes:
        id: the adapter's id of the dead letter; stable until it is replayed or deleted.
        history: failures before the last replay, oldest first
            (`aimq.broker.failure_history.replayed_history`).
    """

    id: str
    queue: str
    body: bytes
    message_id: str
    failure: Failure
    attempts: int
    first_failed_at: datetime | None
    last_failed_at: datetime | None
    history: list[dict[str, object]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounts:
    """How many messages of a work queue are where.

    Attributes:
        ready: waiting for a consumer.
        held: delivered and not settled (0 where the server does not tell).
        delayed: waiting for a retry (of all work queues together where they share retry queues).
        dead: in the dead-letter queue.
    """

    ready: int
    held: int
    delayed: int
    dead: int


class Subscription(Protocol):
    """A consumer's hold on one work queue.

    When the connection breaks, the adapter reconnects and consumes again, with backoff and for
    ever. The broker delivers again what was held; settling one of the old deliveries resolves to
    False.

    `ack`, `retry`, `defer`, `dead_letter` and `requeue` settle a delivery. Their future resolves to
    True once the outcome is durable, to False if the delivery was no longer held. It never raises
    a `TransientError`.
    """

    def receive(self, limit: int = 1, timeout: float | None = None) -> list[Delivery]:
        """Return 1 to `limit` messages, and wait until one is there.

        Returns an empty list after `timeout` seconds without one, or once the subscription is
        closed. Takes what is ready and never waits to fill up to `limit`.
        """
        ...

    def ack(self, delivery: Delivery) -> Future[bool]:
        """Delete the message: its work is done and stored."""
        ...

    def retry(self, delivery: Delivery, delay: float, failure: Failure) -> Future[bool]:
        """Deliver it again after about `delay` seconds, with one attempt more on its count.

        The delayed copy is durable before the original is deleted. An adapter with fixed delays
        takes the nearest.
        """
        ...

    def defer(self, delivery: Delivery, delay: float) -> Future[bool]:
        """Deliver it again like `retry`, but count no attempt: another worker holds the job."""
        ...

    def dead_letter(self, delivery: Delivery, failure: Failure) -> Future[bool]:
        """Move it to the dead-letter queue with the reason. It is durable there before it leaves
        the work queue.
        """
        ...

    def requeue(self, delivery: Delivery) -> Future[bool]:
        """Put it back at once for any consumer, and count no attempt (shutdown)."""
        ...

    def close(self) -> None:
        """Take no more, and put back what `receive` has not returned. What it has returned can
        still be settled until the broker is closed. Idempotent.
        """
        ...


class Broker(Protocol):
    """A set of work queues (`aimq.broker.topology`)."""

    def publish(self, queue: str, message: Message) -> Future[None]:
        """Put a message on a work queue. The future resolves once it is durable.

        The future raises `BrokerUnavailable` if that is not known within bounded time; the
        message may or may not have been stored then.
        """
        ...

    def subscribe(self, queue: str, prefetch: int) -> Subscription:
        """Start to consume; at most `prefetch` unsettled messages are held.

        Never fails because the server is away: the subscription connects once it is there.
        """
        ...

    def counts(self, queue: str) -> QueueCounts:
        """Return the numbers of a work queue. Raises `BrokerUnavailable`."""
        ...

    def dead_letters(self, queue: str, limit: int = 100) -> list[DeadMessage]:
        """Return the oldest dead letters of a work queue, oldest first, and leave them there.

        Raises `BrokerUnavailable`.
        """
        ...

    def replay(self, queue: str, dead_letter_id: str) -> DeadMessage | None:
        """Put a dead letter back on its work queue with its attempts reset and its history kept.

        Returns it; None if there is no such id. Raises `BrokerUnavailable`.
        """
        ...

    def discard(self, queue: str, dead_letter_id: str) -> DeadMessage | None:
        """Delete a dead letter. Returns it; None if there is no such id.

        Raises `BrokerUnavailable`.
        """
        ...

    def check(self) -> None:
        """Raise `BrokerUnavailable`, with one clear line, unless messages can be published now."""
        ...

    def close(self) -> None:
        """Flush what was published; close subscriptions and connections. Idempotent."""
        ...
