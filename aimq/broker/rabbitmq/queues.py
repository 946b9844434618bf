"""Arguments of the queues. Pure but for `declare`.

Every queue is a quorum queue: replicated in a cluster, and the only type with a delivery limit and
with dead-lettering that confirms (``at-least-once``, which needs ``reject-publish``), so that a
message that leaves a retry queue is never between two queues.

A retry queue has an exchange of its own, of the same name. A message published to that exchange
has the name of its work queue as its routing key. After the delay the server publishes it with
that key to exchange `aimq`. All work queues therefore share the retry queues.

The delivery limits are explicit, since their default differs between 3.10 (none) and 4.x (20), and
since without one a message that is put back goes to the end of its queue:

- of a work queue, a safety net far above what `aimq.settings.Settings.delivery_limit` allows;
- of a dead-letter queue, as good as none. Looking at dead letters takes them and puts them back,
  which counts as a delivery; with any real limit, looking often enough would delete them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pika.channel

from aimq.broker import topology
from aimq.broker.failure_history import DELIVERY_SAFETY_NET
from aimq.broker.topology import EXCHANGE, dead_queue, retry_queue

_UNLIMITED: Final = 2**31 - 1
_QUORUM: Final[dict[str, object]] = {"x-queue-type": "quorum"}
_DEAD_LETTERS: Final[dict[str, object]] = {
    **_QUORUM,
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": EXCHANGE,
    "x-dead-letter-strategy": "at-least-once",
}


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One durable queue, bound to its exchange by its own name.

    Attributes:
        exchange: `EXCHANGE`, or for a retry queue its own, which gives it every message.
    """

    name: str
    arguments: dict[str, object]
    exchange: str = EXCHANGE


def queue_specs(queue: str) -> list[QueueSpec]:
    """Return a work queue and the queues behind it, each after those it dead-letters to."""
    dead = dead_queue(queue)
    to_dead = {**_DEAD_LETTERS, "x-dead-letter-routing-key": dead}
    return [
        QueueSpec(dead, {**_QUORUM, "x-delivery-limit": _UNLIMITED}),
        QueueSpec(queue, {**to_dead, "x-delivery-limit": DELIVERY_SAFETY_NET}),
        *retry_specs(),
    ]


def retry_specs() -> list[QueueSpec]:
    """Return the retry queues that all work queues share."""
    return [
        QueueSpec(name, {**_DEAD_LETTERS, "x-message-ttl": round(delay * 1000)}, exchange=name)
        for delay in topology.RETRY_DELAYS
        for name in [retry_queue(delay)]
    ]


def declare(channel: pika.channel.Channel, queue: str) -> None:
    """Ask for a work queue and the queues behind it without waiting for answers.

    What follows on the channel finds them there. A queue that exists with other arguments closes
    the channel with a reason that names it (`aimq.broker.rabbitmq.error_mapping`).
    """
    channel.exchange_declare(EXCHANGE, exchange_type="direct", durable=True)
    for spec in queue_specs(queue):
        if spec.exchange != EXCHANGE:
            channel.exchange_declare(spec.exchange, exchange_type="fanout", durable=True)
        channel.queue_declare(spec.name, durable=True, arguments=spec.arguments)
        channel.queue_bind(spec.name, spec.exchange, routing_key=spec.name)
