"""Stores new tasks and passes them on to the queue, many at a time."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from aimq.http.threads import ThreadPool
from aimq.jobs.job import Job
from aimq.jobs.port import JobStore
from interface.job_publisher import JobPublisher

#: Most jobs in one call of the store.
_GROUP: Final = 500


class _Waiting(NamedTuple):
    job: Job
    key: str
    stored: asyncio.Future[Job]


class JobWriter:
    """Stores jobs and publishes their messages. Belongs to one event loop.

    Jobs that arrive during a call of the store go with the next call: a thousand tasks at once
    cost a few calls and a few flushes of the disk, and a single one does not wait.
    """

    def __init__(self, store: JobStore, threads: ThreadPool, publisher: JobPublisher) -> None:
        self._store = store
        self._threads = threads
        self._publisher = publisher
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._publishing: set[asyncio.Task[int]] = set()

    async def write(self, job: Job, idempotency_key: str = "") -> Job:
        """Store a job, begin to publish its message, and return it.

        With the key of an earlier job, that job is returned and nothing is stored. The broker's
        confirm is not waited for: the sweep publishes what is not confirmed.

        Raises:
            StoreUnavailable: nothing was stored.
        """
        waiting = _Waiting(job, idempotency_key, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        return await waiting.stored

    async def _write_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
            jobs, keys = [one.job for one in group], [one.key for one in group]
            try:
                stored = await self._threads.run(self._store.create, jobs, keys)
            except Exception as exc:  # noqa: BLE001 # raised to those who wait
                for one in group:
                    if not one.stored.cancelled():
                        one.stored.set_exception(exc)
                continue
            for one, job in zip(group, stored, strict=True):
                if not one.stored.cancelled():
                    one.stored.set_result(job)
            ids = {job.job_id for job in stored}  # of others, where a key came again
            self._publish([job for job in jobs if job.job_id in ids])

    def _publish(self, jobs: list[Job]) -> None:
        """Publish after the answers: the loop resumes those who wait before it begins this task."""
        if not jobs:
            return
        task = asyncio.create_task(self._publisher.publish(jobs))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def close(self) -> None:
        """Wait until what was taken is stored and published."""
        if self._writing is not None:
            await self._writing
        await asyncio.gather(*self._publishing, return_exceptions=True)
