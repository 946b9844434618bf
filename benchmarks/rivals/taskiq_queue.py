"""TaskIQ on aio-pika, whose publishes are confirmed and run side by side."""

from __future__ import annotations

import asyncio
import time

from taskiq_aio_pika import AioPikaBroker, Queue, QueueType
from taskiq_redis import RedisAsyncResultBackend

from benchmarks.rivals.contender import RECORD, Contender, quorum, trivial, urls

_broker_url, _store_url = urls()
_queue = Queue(type=QueueType.QUORUM if quorum() else QueueType.CLASSIC)
broker = AioPikaBroker(_broker_url, task_queues=[_queue]).with_result_backend(
    RedisAsyncResultBackend(_store_url)
)


@broker.task
async def score(record: dict[str, object]) -> dict[str, object]:
    """Do the trivial work."""
    return trivial(record)


async def _send(count: int) -> None:
    await asyncio.gather(*(score.kiq(RECORD) for _ in range(count)))


_loop = asyncio.new_event_loop()
_started = False


def _submit(count: int) -> float:
    global _started  # noqa: PLW0603 # a worker imports this module as well and must not connect
    if not _started:
        _loop.run_until_complete(broker.startup())
        _started = True
    began = time.perf_counter()
    _loop.run_until_complete(_send(count))
    return began


contender = Contender(_submit)
