"""What goes round in the background: jobs the broker never saw, and jobs past their age."""

from __future__ import annotations

from typing import Final

from aimq.errors import BrokerUnavailable
from aimq.files.keys import file_keys
from interface.context import Context

#: Younger jobs are still in the hands of the request that made them.
_SETTLED_SECONDS: Final = 4.0
#: How long the jobs one replica has taken are its own.
_LEASE_SECONDS: Final = 15.0
_BATCH: Final = 200
#: The sweep can wait for a confirm longer than a client can.
_CONFIRM_SECONDS: Final = 10.0
_JANITOR_LEASE_SECONDS: Final = 120.0


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


async def expire(context: Context) -> None:
    """Delete the files and then the records of jobs past their age. Safe in replicas.

    Raises:
        StoreUnavailable, FilesUnavailable: what is left is taken up again later.
    """
    while ids := await context.threads.run(
        context.store.take_expired, _JANITOR_LEASE_SECONDS, _BATCH
    ):
        await context.threads.run(_delete, context, ids)
        context.metrics.expired.inc(len(ids))


def _delete(context: Context, ids: list[str]) -> None:
    for job_id in ids:
        for key in file_keys(job_id):
            context.files.delete(key)
    context.store.delete_all(ids)
