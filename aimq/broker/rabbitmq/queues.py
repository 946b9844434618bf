"""The queues behind one work queue, and their arguments. Pure but for `declare`.

Every queue is a quorum queue: replicated in a cluster, and the only type with a delivery limit and
with dead-lettering that confirms (``at-least-once``, which needs ``reject-publish``), so that a
message that leaves a retry queue is never between two queues.

The delivery limits are explicit, since their default differs between 3.10 (none) and 4.x (20), and
since without one a message that is put back goes to the end of its queue:

- of a work queue, a safety net far above what `aimq.settings.Settings.delivery_limit` allows;
- of a dead-letter queue, as good as none. Looking at dead letters takes them and puts them back,
  which counts as a delivery; with any real limit, looking often enough would delete them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pika.channel import Channel

from aimq.broker.failure_history import DELIVERY_SAFETY_NET
from aimq.broker.topology import EXCHANGE, RetryStep, dead_queue

_UNLIMITED: Final = 2**31 - 1
_QUORUM: Final[dict[str, object]] = {"x-queue-type": "quorum"}


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One durable queue, bound to the exchange by its own name."""

    name: str
    arguments: dict[str, object]


def queue_specs(queue: str, steps: list[RetryStep]) -> list[QueueSpec]:
    """Return the queues behind a work queue, each after those it dead-letters to."""
    dead = dead_queue(queue)
    retries = [
        QueueSpec(
            step.queue,
            {"x-message-ttl": round(step.delay_seconds * 1000), **_dead_letters_to(queue)},
        )
        for step in steps
    ]
    return [
        QueueSpec(dead, {**_QUORUM, "x-delivery-limit": _UNLIMITED}),
        QueueSpec(queue, {"x-delivery-limit": DELIVERY_SAFETY_NET, **_dead_letters_to(dead)}),
        *retries,
    ]


def nearest_step(steps: list[RetryStep], delay: float) -> RetryStep:
    """Return the step whose delay is nearest to `delay` seconds."""
    return min(steps, key=lambda step: abs(step.delay_seconds - delay))


def declare(channel: Channel, specs: list[QueueSpec]) -> None:
    """Ask for exchange and queues without waiting for answers.

    What follows on the channel finds them there. A queue that exists with other arguments closes
    the channel with a reason that names it (`aimq.broker.rabbitmq.faults`).
    """
    channel.exchange_declare(EXCHANGE, exchange_type="direct", durable=True)
    for spec in specs:
        channel.queue_declare(spec.name, durable=True, arguments=spec.arguments)
        channel.queue_bind(spec.name, EXCHANGE, routing_key=spec.name)


def _dead_letters_to(queue: str) -> dict[str, object]:
    return {
        **_QUORUM,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": EXCHANGE,
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
    }
