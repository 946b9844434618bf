"""From accepted tasks to stored jobs and confirmed messages, many at a time."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from aimq.errors import BrokerUnavailable, StoreUnavailable
from aimq.http.threads import ThreadPool
from aimq.jobs.job import Job
from aimq.messages import Kind
from interface.job_publisher import JobPublisher
from interface.job_writer import JobWriter
from interface.metrics import Metrics


class Store:
    """What is used of a store; the first call waits until it is let go."""

    def __init__(self):
        self.groups = []
        self.marked = []
        self.go = threading.Event()

    def create(self, jobs, _keys):
        self.go.wait()
        self.groups.append(len(jobs))
        return list(jobs)

    def mark_published(self, job_ids):
        self.marked += job_ids


class Broker:
    """The one method of a broker that is used; `outcome` may end a message's future."""

    def __init__(self, events, outcome=None):
        self.events = events
        self.outcome = outcome
        self.sent = []

    def publish(self, _queue, message):
        self.events.append("published")
        future = Future()
        self.sent.append((message.job_id, future))
        if self.outcome is not None:
            self.outcome(future)
        return future


def confirm(future):
    future.set_result(None)


def fail(future):
    future.set_exception(BrokerUnavailable("away"))


def away(_jobs, _keys):
    raise StoreUnavailable("away")


def task():
    return Job(kind=Kind.FACTORIAL, input=b"{}")


@pytest.fixture
def threads():
    threads = ThreadPool(2, "test")
    yield threads
    threads.close()


@pytest.mark.parametrize("count", [1, 100])
async def test_all_that_came_together_are_stored_in_one_call_and_answered_before_published(
    threads, count
):
    events, store = [], Store()
    publisher = JobPublisher(Broker(events, confirm), store, threads, Metrics())
    writer = JobWriter(store, threads, publisher)

    async def ask():
        await writer.write(task())
        events.append("answered")

    asked = [asyncio.create_task(ask()) for _ in range(count)]
    await asyncio.sleep(0)
    store.go.set()
    await asyncio.gather(*asked)
    await writer.close()

    assert store.groups == [count]
    assert events == ["answered"] * count + ["published"] * count
    assert len(store.marked) == count


async def test_a_store_that_fails_is_said_to_each_that_waits(threads):
    store = Store()
    store.create = away
    writer = JobWriter(store, threads, JobPublisher(Broker([]), store, threads, Metrics()))
    asked = [asyncio.create_task(writer.write(task())) for _ in range(3)]

    outcomes = await asyncio.gather(*asked, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3


async def test_the_loop_is_woken_once_for_all_confirms(threads, monkeypatch):
    broker = Broker([])
    store, loop = Store(), asyncio.get_running_loop()
    publisher = JobPublisher(broker, store, threads, Metrics())
    jobs = [task() for _ in range(50)]
    publishing = asyncio.create_task(publisher.publish(jobs))
    await asyncio.sleep(0)
    woken = []
    wake = loop.call_soon_threadsafe
    monkeypatch.setattr(
        loop, "call_soon_threadsafe", lambda *call, **more: woken.append(1) or wake(*call, **more)
    )

    def confirm_all():
        for _, future in broker.sent:
            future.set_result(None)

    confirming = threading.Thread(target=confirm_all)
    confirming.start()
    confirming.join()

    confirmed = await publishing
    assert len(woken) == 2  # by the last confirm, and by the store that has marked them all
    assert confirmed == 50


async def test_only_what_is_confirmed_in_time_is_marked(threads):
    outcomes = iter([confirm, fail, lambda _: None])

    def end(future):
        next(outcomes)(future)

    broker = Broker([], end)
    store, metrics = Store(), Metrics()
    publisher = JobPublisher(broker, store, threads, metrics)

    assert await publisher.publish([task(), task(), task()], seconds=0.01) == 1

    assert store.marked == [broker.sent[0][0]]
    assert metrics.registry.get_sample_value("aimq_messages_published_total") == 1
    assert metrics.registry.get_sample_value("aimq_messages_unconfirmed_total") == 2
    confirm(broker.sent[2][1])  # too late, and nobody minds


async def test_a_confirm_after_the_end_of_the_loop_is_passed_over(threads, caplog):
    broker = Broker([])

    async def publish():
        publisher = JobPublisher(broker, Store(), threads, Metrics())
        assert await publisher.publish([task()], seconds=0.01) == 0

    await asyncio.to_thread(asyncio.run, publish())
    confirm(broker.sent[0][1])

    assert not caplog.records
