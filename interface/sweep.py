"""Periodic tasks: publish what the queue does not have, delete expired jobs."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from aimq.broker.topology import queue_of
from aimq.errors import BrokerUnavailable
from aimq.files.removal import remove_files
from aimq.jobs.job import Status, now
from interface.context import Context

#: Younger jobs are still with the request that made them, in seconds.
_SETTLED_SECONDS: Final = 4.0
#: How long other replicas leave the jobs alone that one has taken, in seconds.
_LEASE_SECONDS: Final = 15.0
_BATCH: Final = 200
#: Longest wait of the sweep for a confirm, in seconds: longer than a client's.
_CONFIRM_SECONDS: Final = 10.0
#: A job that is queued for longer, in seconds, while its queue is empty, has lost its message.
_LOST_AGE: Final = timedelta(seconds=60)
#: Most jobs looked at, and published again, in one round.
_LOST_BATCH: Final = 1000
_JANITOR_LEASE_SECONDS: Final = 120.0

logger = logging.getLogger(__name__)


async def sweep(context: Context) -> None:
    """Publish the messages of stored jobs that the broker has not confirmed.

    Safe in replicas: the store gives each job to one of them at a time, and a message published
    twice is worked on once. Nothing is taken while the broker is away, so that no lease delays a
    job once it is back.

    Raises:
        BrokerUnavailable: nothing can be published now.
        StoreUnavailable: nothing can be asked now.
    """
    await context.broker_threads.run(context.broker.check)
    while True:
        jobs = await context.threads.run(
            context.store.take_unpublished, _SETTLED_SECONDS, _LEASE_SECONDS, _BATCH
        )
        if not jobs:
            return
        confirmed = await context.publisher.publish(jobs, _CONFIRM_SECONDS)
        context.metrics.swept.inc(confirmed)
        if confirmed < len(jobs):
            raise BrokerUnavailable(f"{len(jobs) - confirmed} messages were not confirmed.")
        if len(jobs) < _BATCH:
            return


async def republish_lost(context: Context) -> None:
    """Publish again the messages of jobs that stay queued while their queue is empty.

    Somebody has purged or deleted the queue. The worker may hold a message whose job it has not
    claimed yet: the second one finds the job claimed or done, and is forgotten.

    Raises:
        StoreUnavailable: nothing can be asked now.
    """
    empty = context.queues.empty()
    if not empty:
        return
    queued = await context.threads.run(context.store.recent, _LOST_BATCH, Status.QUEUED)
    made_before = now() - _LOST_AGE
    lost = [job for job in queued if queue_of(job.kind) in empty and job.created_at < made_before]
    if lost:
        logger.warning("%d queued jobs have no message; it is published again", len(lost))
        context.metrics.swept.inc(await context.publisher.publish(lost, _CONFIRM_SECONDS))


async def expire(context: Context) -> None:
    """Delete the files and then the records of jobs past their age. Safe in replicas.

    Raises:
        StoreUnavailable, FilesUnavailable: the rest waits for the next round.
    """
    while ids := await context.threads.run(
        context.store.take_expired, _JANITOR_LEASE_SECONDS, _BATCH
    ):
        await context.threads.run(_delete, context, ids)
        context.metrics.expired.inc(len(ids))


def _delete(context: Context, ids: list[str]) -> None:
    for job_id in ids:
        remove_files(context.files, job_id)
    context.store.delete_all(ids)
