"""From accepted tasks to stored jobs and confirmed messages, many at a time."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from aimq.errors import BrokerUnavailable
from aimq.jobs.job import Job
from aimq.messages import Kind
from interface import recorder
from interface.metrics import Metrics
from interface.publisher import Publisher
from interface.recorder import Recorder
from interface.threads import Threads


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


def task():
    return Job(kind=Kind.FACTORIAL, input=b"{}")


@pytest.fixture
def threads():
    threads = Threads(2, "test")
    yield threads
    threads.close()


@pytest.mark.parametrize(
    ("count", "first"), [(recorder._FEW, "published"), (recorder._FEW + 1, "answered")]
)
async def test_few_are_published_first_and_many_answered_first(threads, count, first):
    events, store = [], Store()
    publisher = Publisher(Broker(events, confirm), store, threads, Metrics())
    records = Recorder(store, threads, publisher)

    async def ask():
        await records.record(task())
        events.append("answered")

    asked = [asyncio.create_task(ask()) for _ in range(count)]
    await asyncio.sleep(0)
    store.go.set()
    await asyncio.gather(*asked)
    await records.close()
    await publisher.close()

    assert store.groups == [count]
    assert events[:count] == [first] * count
    assert sorted(events) == ["answered"] * count + ["published"] * count
    assert len(store.marked) == count


async def test_the_loop_is_woken_once_for_the_confirms_of_many(threads, monkeypatch):
    broker = Broker([])
    store, loop = Store(), asyncio.get_running_loop()
    publisher = Publisher(broker, store, threads, Metrics())
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
    assert len(woken) == 1
    assert confirmed == 50
    await publisher.close()


async def test_only_what_is_confirmed_in_time_is_marked(threads):
    outcomes = iter([confirm, fail, lambda _: None])

    def end(future):
        next(outcomes)(future)

    broker = Broker([], end)
    store, metrics = Store(), Metrics()
    publisher = Publisher(broker, store, threads, metrics)

    assert await publisher.publish([task(), task(), task()], seconds=0.01) == 1
    await publisher.close()

    assert store.marked == [broker.sent[0][0]]
    assert metrics.registry.get_sample_value("aimq_messages_published_total") == 1
    assert metrics.registry.get_sample_value("aimq_messages_unconfirmed_total") == 2
    confirm(broker.sent[2][1])  # too late, and nobody minds


async def test_a_confirm_after_the_end_of_the_loop_is_passed_over(threads, caplog):
    broker = Broker([])

    async def publish():
        publisher = Publisher(broker, Store(), threads, Metrics())
        assert await publisher.publish([task()], seconds=0.01) == 0

    await asyncio.to_thread(asyncio.run, publish())
    confirm(broker.sent[0][1])

    assert not caplog.records
