"""The Broker port: durable work queues with delayed retries and dead letters.

Delivery is at least once. Whoever handles a message must be able to handle it again: the job
store's claims (`aimq.jobs.port`) make that safe.

All methods are thread-safe. Methods that return a `Future` never block on the network or the
disk; the others may, and must not be called on an event loop.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from aimq.messages import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt failed; travels in the headers of retries and dead letters.

    Attributes:
        error: one line for a person (``x-error``).
        error_type: name of the exception's class (``x-error-type``).
        traceback: for the operator, never for the client (``x-traceback``).
        unprocessable: the message itself is at fault, so that no retry was made.
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
        message_id: the broker's id of the message; the job id for messages of ours, "" if absent.
        attempts: attempts that failed and were retried, by our own count (``x-attempts``).
        redelivered: it was delivered before and not settled (its consumer died, or was cut off).
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
    """A message given up, with all that is known of why.

    Attributes:
        id: the adapter's id of the dead letter; stable until it is replayed or deleted.
        history: failures of earlier rounds, oldest first; a replay adds to it.
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
        delayed: waiting for a retry.
        dead: in the dead-letter queue.
    """

    ready: int
    held: int
    delayed: int
    dead: int


class Subscription(Protocol):
    """A consumer's hold on one work queue.

    It outlives the server: when the connection breaks, the adapter reconnects with backoff, for
    ever, and subscribes anew; deliveries held from before the break are lost to this subscription
    (the broker delivers them again) and settling one of them resolves to False.

    Every settling method returns a future that resolves to True once the outcome is durable, and
    to False when the delivery was no longer ours. `TransientError`s are not raised through it.
    """

    def receive(self, limit: int = 1, timeout: float | None = None) -> list[Delivery]:
        """Return between 1 and `limit` messages, waiting until one is there.

        Returns an empty list after `timeout` seconds without one, or once the subscription is
        closed. Takes what is ready and never waits to fill up to `limit`.
        """
        ...

    def ack(self, delivery: Delivery) -> Future[bool]:
        """Say that the work is done and stored: the message is forgotten."""
        ...

    def retry(self, delivery: Delivery, delay: float, failure: Failure) -> Future[bool]:
        """Deliver it again after about `delay` seconds, with one attempt more on its count.

        The delayed copy is durable before the original is forgotten. An adapter with fixed steps
        takes the nearest.
        """
        ...

    def defer(self, delivery: Delivery, delay: float) -> Future[bool]:
        """As `retry`, but no attempt is counted: somebody else holds the job for now."""
        ...

    def dead_letter(self, delivery: Delivery, failure: Failure) -> Future[bool]:
        """Move it to the dead-letter queue with the reason; durable before it is forgotten."""
        ...

    def requeue(self, delivery: Delivery) -> Future[bool]:
        """Put it back for any consumer, at once and uncounted (shutdown)."""
        ...

    def close(self) -> None:
        """Take no more and hand back what `receive` has not given out. What it has given out
        can still be settled until the broker is closed. Idempotent.
        """
        ...


class Broker(Protocol):
    """A set of work queues (`aimq.broker.topology`)."""

    def publish(self, queue: str, message: Message) -> Future[None]:
        """Put a message on a work queue; resolves once it is durable (publisher confirm).

        The future fails with `BrokerUnavailable` when that could not be had in bounded time; the
        message may or may not have been stored then.
        """
        ...

    def subscribe(self, queue: str, prefetch: int) -> Subscription:
        """Start consuming; at most `prefetch` unsettled messages are held. Never fails for want
        of a server: it is connected to as soon as it is there.
        """
        ...

    def counts(self, queue: str) -> QueueCounts:
        """Return the numbers of a work queue. Raises `BrokerUnavailable`."""
        ...

    def dead_letters(self, queue: str, limit: int = 100) -> list[DeadMessage]:
        """Return the dead letters of a work queue, oldest first, leaving them there.

        Raises `BrokerUnavailable`.
        """
        ...

    def replay(self, queue: str, dead_letter_id: str) -> DeadMessage | None:
        """Put a dead letter back on its work queue with its attempts reset and its history kept.

        Returns it, or None when there is no such id. Raises `BrokerUnavailable`.
        """
        ...

    def discard(self, queue: str, dead_letter_id: str) -> DeadMessage | None:
        """Delete a dead letter. Returns it, or None when there is no such id.

        Raises `BrokerUnavailable`.
        """
        ...

    def check(self) -> None:
        """Raise `BrokerUnavailable`, with one clear line, unless messages can be published now."""
        ...

    def close(self) -> None:
        """Flush what was published, close subscriptions and connections. Idempotent."""
        ...
