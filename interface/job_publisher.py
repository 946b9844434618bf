"""Publishes the messages of stored jobs, and marks those that the broker has confirmed."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Final

from aimq.broker.port import Broker
from aimq.broker.topology import queue_of
from aimq.errors import Overloaded, StoreUnavailable
from aimq.http.threads import ThreadPool
from aimq.jobs.job import Job
from aimq.jobs.port import JobStore
from aimq.messages import Message
from interface.metrics import Metrics

#: Longest wait for the broker's confirm, in seconds; then the message is the sweep's.
CONFIRM_SECONDS: Final = 2.0

logger = logging.getLogger(__name__)


class JobPublisher:
    """Publishes messages of stored jobs, and marks what is confirmed. Belongs to one event loop.

    A process that dies in between leaves the job to the sweep, which publishes a second message;
    the job's claim makes that harmless.
    """

    def __init__(
        self, broker: Broker, store: JobStore, threads: ThreadPool, metrics: Metrics
    ) -> None:
        self._broker = broker
        self._store = store
        self._threads = threads
        self._metrics = metrics

    async def publish(self, jobs: Sequence[Job], seconds: float = CONFIRM_SECONDS) -> int:
        """Publish, wait at most `seconds` for the confirms, and return how many came. Never fails:
        what is not confirmed stays unpublished in the store.
        """
        sent = {job.job_id: self._send(job) for job in jobs}
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await _all_done(sent.values())
        confirmed = [id_ for id_, future in sent.items() if _succeeded(future)]
        self._metrics.published.inc(len(confirmed))
        self._metrics.unconfirmed.inc(len(sent) - len(confirmed))
        await self._mark(confirmed)
        return len(confirmed)

    def _send(self, job: Job) -> Future[None]:
        message = Message(job_id=job.job_id, kind=job.kind, traceparent=job.traceparent)
        return self._broker.publish(queue_of(job.kind), message)

    async def _mark(self, job_ids: list[str]) -> None:
        if not job_ids:
            return
        try:
            await self._threads.run(self._store.mark_published, job_ids)
        except (StoreUnavailable, Overloaded) as exc:
            logger.warning("%d messages will be sent again: %s", len(job_ids), exc.detail)


async def _all_done(futures: Collection[Future[None]]) -> None:
    """Wait until the broker has resolved them all. The loop is woken once, for the last."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    count = itertools.count(1)  # thread-safe, unlike adding to a number

    def note(_: Future[None]) -> None:
        if next(count) == len(futures) and not loop.is_closed():
            loop.call_soon_threadsafe(done.set)

    for future in futures:
        future.add_done_callback(note)
    await done.wait()


def _succeeded(future: Future[None]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
