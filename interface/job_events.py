"""Changes of jobs, from one watch on the store to any number of WebSockets."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock

from aimq.errors import AimqError
from aimq.http.threads import ThreadPool
from aimq.jobs.job import Job, Status
from aimq.jobs.port import JobStore
from aimq.messages import Kind
from interface.metrics import Metrics


class Mailbox:
    """The latest state of a job that its watcher has not seen: one, however slow the reader is."""

    def __init__(self) -> None:
        self._latest: Job | None = None
        self._arrived = asyncio.Event()
        self._closed = False

    def put(self, job: Job) -> None:
        """Replace what is there, unless that is final."""
        if self._latest is None or not self._latest.final:
            self._latest = job
            self._arrived.set()

    def close(self) -> None:
        """Make `take` return None from now on."""
        self._closed = True
        self._arrived.set()

    async def take(self) -> Job | None:
        """Return the next state, waiting for it; None once closed."""
        await self._arrived.wait()
        self._arrived.clear()
        job, self._latest = self._latest, None
        return None if self._closed else job


class JobEvents:
    """Passes changes of jobs to mailboxes. Belongs to one event loop; the store calls from a thread
    of its own.

    The store's watch sends no results: a task that is done is looked up, once for all its watchers,
    before they get it.
    """

    def __init__(self, store: JobStore, threads: ThreadPool, metrics: Metrics) -> None:
        self._store = store
        self._threads = threads
        self._metrics = metrics
        self._completing: set[asyncio.Task[None]] = set()
        self._watchers: defaultdict[str, set[Mailbox]] = defaultdict(set)
        self._changed: dict[str, Job] = {}
        self._lock = Lock()
        self._stop: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to watch the store, on the running loop."""
        loop = asyncio.get_running_loop()

        def on_change(job: Job) -> None:
            if job.job_id not in self._watchers:  # one dictionary look-up: safe on this thread
                return
            with self._lock:
                first = not self._changed
                self._changed[job.job_id] = job
            if first:
                loop.call_soon_threadsafe(self._deliver)

        self._stop = self._store.watch(on_change)

    def stop(self) -> None:
        """End the watch on the store and close all mailboxes."""
        if self._stop is not None:
            self._stop()
        for task in self._completing:
            task.cancel()
        for mailboxes in self._watchers.values():
            for mailbox in mailboxes:
                mailbox.close()

    def _deliver(self) -> None:
        with self._lock:
            changed, self._changed = self._changed, {}
        for job in changed.values():
            if job.status is Status.DONE and job.kind is not Kind.SPREADSHEET:
                task = asyncio.create_task(self._complete(job))
                self._completing.add(task)
                task.add_done_callback(self._completing.discard)
            else:
                self._put(job)

    async def _complete(self, job: Job) -> None:
        with suppress(AimqError):  # then it is sent without its result, which can be asked for
            found = await self._threads.run(self._store.get, job.job_id)
            job = found or job
        self._put(job)

    def _put(self, job: Job) -> None:
        for mailbox in self._watchers.get(job.job_id, ()):
            mailbox.put(job)

    @contextmanager
    def watch(self, job_id: str) -> Iterator[Mailbox]:
        """Give a mailbox that gets the job's changes for the length of a ``with`` block."""
        mailbox = Mailbox()
        self._watchers[job_id].add(mailbox)
        self._metrics.watchers.inc()
        try:
            yield mailbox
        finally:
            self._metrics.watchers.dec()
            self._watchers[job_id].discard(mailbox)
            if not self._watchers[job_id]:
                del self._watchers[job_id]
