"""Dramatiq, with publisher confirms and stored results, which it does not have by default."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.rivals.contender import RECORD, Contender, trivial, urls

_broker_url, _store_url = urls()
broker = RabbitmqBroker(url=_broker_url, confirm_delivery=True)
broker.add_middleware(Results(backend=RedisBackend(url=_store_url), store_results=True))
dramatiq.set_broker(broker)


@dramatiq.actor
def score(record: dict[str, object]) -> dict[str, object]:
    """Do the trivial work."""
    return trivial(record)


def _submit(count: int) -> None:
    for _ in range(count):
        score.send(RECORD)


contender = Contender(_submit)
