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
from batch_processor.app import _workshop as make_workshop
from batch_processor.handler import Ending, Success, Work
from batch_processor.predictions import MOST
from batch_processor.processor import Processor
from batch_processor.stations import stations
from benchmarks.rivals.contender import Contender, payload, trivial, urls


class Trivial:
    """Takes as many predictions at once as the real handler does, without predicting."""

    limit = MOST

    def handle(self, works: Sequence[Work]) -> Sequence[Ending]:
        """Do the trivial work."""
        return [
            Success(result=msgspec.json.encode(trivial(msgspec.json.decode(work.job.input))))
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
        handlers = dict.fromkeys(Kind, Trivial())
        shop = make_workshop(settings, store, broker, handlers)
        processor = Processor(broker, shop, stations(settings, shop, handlers, [TASKS]))
        processor.start()
        stopping.wait()
        processor.stop(settings.shutdown_seconds)


if __name__ == "__main__":
    work()
