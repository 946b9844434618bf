"""Jobs whose message was lost with its queue are published again."""

import asyncio
from datetime import timedelta

import pytest

from aimq import messages
from aimq.broker.topology import UPLOADS
from interface.sweep import republish_lost
from tests.integration.interface.conftest import upload


@pytest.fixture
def old(monkeypatch):
    """Make every job old enough to have lost its message."""
    monkeypatch.setattr("interface.sweep._LOST_AGE", timedelta(0))


def purge(broker):
    """Take everything off the queue, and return the jobs."""
    subscription = broker.subscribe(UPLOADS, 10)
    try:
        taken = subscription.receive(10, timeout=5.0)
        assert all(subscription.ack(one).result(5.0) for one in taken)
        return [messages.decode(one.body).job_id for one in taken]
    finally:
        subscription.close()


async def queued_job(door):
    return (await upload(door)).json()["job_id"]


async def sweep(door):
    await door.context.queues.refresh()
    await republish_lost(door.context)


async def test_a_job_whose_queue_was_purged_is_published_again(door, broker, store, old):
    job_id = await queued_job(door)
    assert await asyncio.to_thread(purge, broker) == [job_id]

    await sweep(door)

    assert await asyncio.to_thread(purge, broker) == [job_id]


async def test_one_that_waits_in_its_queue_is_not_published_again(door, broker, old):
    job_id = await queued_job(door)

    await sweep(door)

    assert await asyncio.to_thread(purge, broker) == [job_id]


async def test_a_young_one_and_one_that_is_done_are_left_alone(door, broker, store, monkeypatch):
    await queued_job(door)
    await asyncio.to_thread(purge, broker)
    await sweep(door)
    assert broker.counts(UPLOADS).ready == 0

    monkeypatch.setattr("interface.sweep._LOST_AGE", timedelta(0))
    (job,) = store.recent()
    store.cancel(job.job_id)
    await sweep(door)
    assert broker.counts(UPLOADS).ready == 0


async def test_nothing_is_published_while_the_depths_are_unknown(door, broker, old):
    await queued_job(door)
    await asyncio.to_thread(purge, broker)
    door.context.queues.counts.clear()

    await republish_lost(door.context)

    assert broker.counts(UPLOADS).ready == 0
