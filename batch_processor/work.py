"""What is being worked on, and what a handler is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import msgspec

from aimq.broker.port import Delivery
from aimq.errors import StoreUnavailable
from aimq.jobs.job import Job
from aimq.jobs.port import Claim, JobStore
from aimq.messages import Kind, Message
from batch_processor.disposition import Ack, Defer, Stopped


class Work:
    """A message in hand: its delivery, and the claim of the job that it names. Thread-safe."""

    def __init__(self, delivery: Delivery, message: Message, claim: Claim, store: JobStore) -> None:
        self.delivery = delivery
        self.message = message
        self.claim = claim
        self._store = store
        self._cancelled = threading.Event()

    @property
    def job(self) -> Job:
        """The job as it was when it was claimed."""
        return self.claim.job

    @cached_property
    def webhook(self) -> Job | None:
        """The job that sends this job's result to its ``callback_url``, if it has one."""
        return webhook_job(self.job) if self.job.callback_url else None

    def cancel(self) -> None:
        """Ask the handler to stop: the claim is void, or the process stops."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Stopped` once the work is cancelled. Handlers call it between steps."""
        if self._cancelled.is_set():
            raise Stopped

    def progress(self, *, rows_total: int | None, rows_done: int, rows_failed: int) -> None:
        """Store row counts; while the store is away nobody is told. Raises `Stopped` if the claim
        is void.
        """
        self.check()
        try:
            held = self._store.progress(
                self.claim, rows_total=rows_total, rows_done=rows_done, rows_failed=rows_failed
            )
        except StoreUnavailable:
            return  # the work goes on: its outcome waits for the store
        if not held:
            self.cancel()
            raise Stopped


#: What a handler says of one job: an exception stands for the attempt that raised it.
Result = Ack | Defer | BaseException

#: Works on jobs of one kind, several at once; returns one result per job, in order. What it raises
#: is the result of every job. Must be thread-safe.
Handler = Callable[[Sequence[Work]], Sequence[Result]]


def one_by_one(function: Callable[[Work], Ack | Defer]) -> Handler:
    """Return a handler from a function that works on one job and returns its result or raises."""

    def attempt(work: Work) -> Result:
        try:
            return function(work)
        except BaseException as exc:  # noqa: BLE001 # the result of this job, whatever it is
            return exc

    return lambda works: [attempt(work) for work in works]


def by_kind(handlers: Mapping[Kind, Handler]) -> Handler:
    """Return a handler that gives each job to the handler of its kind."""
    return lambda works: [result for work in works for result in handlers[work.job.kind]([work])]


def webhook_job(task: Job) -> Job:
    """Return a new job that sends a task's result. The result is looked up when it is sent."""
    return Job(
        kind=Kind.WEBHOOK,
        input=msgspec.json.encode({"task_id": task.job_id}),
        traceparent=task.traceparent,
    )
