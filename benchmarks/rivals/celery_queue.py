"""Celery, with the durability it does not have by default."""

from __future__ import annotations

import time

from celery import Celery

from benchmarks.rivals.contender import RECORD, Contender, quorum, trivial, urls

_broker, _store = urls()
app = Celery("rival", broker=_broker, backend=_store)
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_default_delivery_mode="persistent",
    task_default_queue_type="quorum" if quorum() else "classic",
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


@app.task
def score(record: dict[str, object]) -> dict[str, object]:
    """Do the trivial work."""
    return trivial(record)


def _submit(count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        score.delay(RECORD)
    return began


contender = Contender(_submit)
