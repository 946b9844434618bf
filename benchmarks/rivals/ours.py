"""AIMQ: its Broker and JobStore, and the batch processor's consumer with a trivial handler."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec

from aimq.broker.connect import connect_broker
from aimq.broker.topology import TASKS
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job
from aimq.messages import Kind, Message
from aimq.settings import load_settings
from batch_processor.app import consumer_context
from batch_processor.consumers import Consumers, consumer_configs
from batch_processor.disposition import Ack
from batch_processor.work import Result, Work
from benchmarks.rivals.contender import Contender, payload, trivial, urls


def trivial_predictions(works: Sequence[Work]) -> Sequence[Result]:
    """Do the trivial work in place of predicting; takes as many at once as the real handler."""
    return [
        Ack(result=msgspec.json.encode(trivial(msgspec.json.decode(work.job.input))))
        for work in works
    ]


_broker_url, _store_url = urls()
settings = load_settings(broker_url=_broker_url, store_url=_store_url)


def make() -> Contender:
    """Return the submitting side."""
    broker, store = connect_broker(settings), connect_store(settings)
    aside = ThreadPoolExecutor(1)
    work = payload()

    def submit(count: int) -> float:
        jobs = store.create([Job(kind=Kind.PREDICTION, input=work) for _ in range(count)])
        began = time.perf_counter()
        confirms = [
            broker.publish(TASKS, Message(job_id=job.job_id, kind=job.kind)) for job in jobs
        ]
        for confirm in confirms:
            confirm.result()
        aside.submit(store.mark_published, [job.job_id for job in jobs])  # as the interface does
        return began

    return Contender(submit, ("ZCARD", "aimq:status:done"))


def work() -> None:
    """Work until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with closing(connect_broker(settings)) as broker, closing(connect_store(settings)) as store:
        handlers = dict.fromkeys(Kind, trivial_predictions)
        configs = consumer_configs(settings, handlers, [TASKS])
        consumers = Consumers(broker, consumer_context(settings, store, broker), configs)
        consumers.start()
        stopping.wait()
        consumers.stop(settings.shutdown_seconds)


if __name__ == "__main__":
    work()
