"""What a consumer is given: the configuration of its queue, and what it shares with the others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from aimq.backoff import RetryPolicy
from aimq.broker.topology import queue_of
from aimq.jobs.port import JobStore
from aimq.messages import Kind, Message
from batch_processor.claiming import Claims
from batch_processor.read_write_lock import ReadWriteLock
from batch_processor.work import Handler


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerConfig:
    """How one queue is consumed.

    Attributes:
        batch: most jobs given to the handler at once.
        prefetch: most messages held unsettled.
        isolated: kinds whose work runs in child processes: it neither waits for other work nor
            keeps it waiting, and none is exclusive.
        uncounted: of these the kinds of which a crash of this process says nothing.
    """

    kind: Kind
    handler: Handler
    policy: RetryPolicy
    threads: int
    prefetch: int
    batch: int = 1
    isolated: Collection[Kind] = ()
    uncounted: Collection[Kind] = ()

    @property
    def queue(self) -> str:
        """The work queue of this kind of message."""
        return queue_of(self.kind)


@dataclass(frozen=True, kw_only=True)
class ConsumerContext:
    """What the consumers of one process share.

    Attributes:
        publish: puts a message on a queue, without waiting (`Broker.publish`).
        delivery_limit: claims of one job that may end with their worker's death.
        lock: shared by work, exclusive for a job that crashed a worker before.
    """

    store: JobStore
    publish: Callable[[str, Message], object]
    claims: Claims
    delivery_limit: int
    lock: ReadWriteLock = field(default_factory=ReadWriteLock)
