"""New tasks into the store and on to the queue, many at a time."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from aimq.jobs.job import Job
from aimq.jobs.port import JobStore
from interface.publisher import Publisher
from interface.threads import Threads

#: Most jobs in one call of the store.
_GROUP: Final = 500
#: So many are published before they are answered: the worker's time counts, too. Of more, the
#: answers go first, or the last client would wait for the messages of all.
_FEW: Final = 8


class _Waiting(NamedTuple):
    job: Job
    key: str
    stored: asyncio.Future[Job]


class Recorder:
    """Stores jobs and publishes their messages. Belongs to one event loop.

    What arrives while a call of the store is under way goes with the next one: a thousand tasks at
    once cost a few calls and a few flushes of the disk, and a single one is not held up.
    """

    def __init__(self, store: JobStore, threads: Threads, publisher: Publisher) -> None:
        self._store = store
        self._threads = threads
        self._publisher = publisher
        self._waiting: list[_Waiting] = []
        self._storing: asyncio.Task[None] | None = None
        self._publishing: set[asyncio.Task[int]] = set()

    async def record(self, job: Job, idempotency_key: str = "") -> Job:
        """Store a job, begin to publish its message, and return it.

        With the key of an earlier job that one is returned, and nothing is stored. The broker's
        confirm is not waited for: what it never saw, the sweep publishes.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        waiting = _Waiting(job, idempotency_key, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_all())
        return await waiting.stored

    async def _store_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
            try:
                stored = await self._threads.run(
                    self._store.create, [one.job for one in group], [one.key for one in group]
                )
            except Exception as exc:  # noqa: BLE001 # handed to those who wait
                self._answer(group, exc)
                continue
            new = [
                job for one, job in zip(group, stored, strict=True) if job.job_id == one.job.job_id
            ]
            if 0 < len(new) <= _FEW:
                self._publish(new)
            for one, job in zip(group, stored, strict=True):
                if not one.stored.cancelled():
                    one.stored.set_result(job)
            if len(new) > _FEW:
                await asyncio.sleep(0)  # the answers are written in this round of the loop
                self._publish(new)

    @staticmethod
    def _answer(group: list[_Waiting], exc: Exception) -> None:
        for one in group:
            if not one.stored.cancelled():
                one.stored.set_exception(exc)

    def _publish(self, jobs: list[Job]) -> None:
        task = asyncio.create_task(self._publisher.publish(jobs))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def close(self) -> None:
        """Wait until what was taken is stored and published."""
        if self._storing is not None:
            await self._storing
        await asyncio.gather(*self._publishing, return_exceptions=True)
