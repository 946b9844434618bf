"""What the consumers of a process share, and what they hand from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aimq.backoff import RetryPolicy
from aimq.broker.port import Delivery
from aimq.jobs.port import JobStore
from aimq.messages import Kind, Message
from batch_processor.alone import SharedLock
from batch_processor.handler import Handler, Work
from batch_processor.leases import Leases
from batch_processor.settling import Settling


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What the consumers of a process share.

    Attributes:
        publish: puts a message on a queue, without waiting (`Broker.publish`).
        handlers: who does which kind of work.
        owner: names this process in claims.
        uniform: returns a number in [0, 1), for the jitter of retries.
        floor: shared by those who work, had alone by who works on a suspect.
    """

    store: JobStore
    publish: Callable[[str, Message], object]
    handlers: Mapping[Kind, Handler]
    leases: Leases
    settling: Settling
    policy: RetryPolicy
    owner: str
    lease_seconds: float
    delivery_limit: int
    uniform: Callable[[], float]
    floor: SharedLock


@dataclass(frozen=True, slots=True)
class Held:
    """A delivery that is not settled yet, and the message in it."""

    delivery: Delivery
    message: Message


@dataclass(frozen=True, slots=True)
class Claimed:
    """A held message whose job is claimed."""

    held: Held
    work: Work
