"""Dramatiq, with publisher confirms and stored results, which it does not have by default."""

from __future__ import annotations

import time

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.rivals.contender import RECORD, Contender, quorum, trivial, urls

_broker_url, _store_url = urls()


class Broker(RabbitmqBroker):
    """Dramatiq's broker, which has no setting for the type of its queues."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, object]:
        kind = {"x-queue-type": "quorum"} if quorum() else {}
        return {**super()._build_queue_arguments(queue_name), **kind}


broker = Broker(url=_broker_url, confirm_delivery=True)
broker.add_middleware(Results(backend=RedisBackend(url=_store_url), store_results=True))
dramatiq.set_broker(broker)


@dramatiq.actor
def score(record: dict[str, object]) -> dict[str, object]:
    """Do the trivial work."""
    return trivial(record)


def _submit(count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        score.send(RECORD)
    return began


contender = Contender(_submit)
