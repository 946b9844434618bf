import pytest

from aimq.broker.port import QueueCounts
from aimq.errors import BrokerUnavailable, Overloaded
from aimq.http.threads import ThreadPool
from interface.metrics import Metrics
from interface.queue_depths import QueueDepths


class CountedBroker:
    """The one method of a broker that is used."""

    ready = 0
    away = False

    def counts(self, queue):
        if self.away:
            raise BrokerUnavailable("The queue is away.")
        return QueueCounts(ready=self.ready, held=0, delayed=1, dead=0)


@pytest.fixture
def threads():
    threads = ThreadPool(1, "broker")
    yield threads
    threads.close()


async def test_what_is_admitted_between_two_looks_is_counted_too(threads):
    backlog = QueueDepths(CountedBroker(), threads, Metrics(), bound=3)
    await backlog.refresh()
    backlog.admit()
    backlog.admit()

    with pytest.raises(Overloaded, match="3 messages wait") as caught:
        backlog.admit()
    assert caught.value.retry_after


async def test_another_look_corrects_the_count(threads):
    broker = CountedBroker()
    backlog = QueueDepths(broker, threads, Metrics(), bound=3)
    for _ in range(3):
        backlog.admit()
    await backlog.refresh()
    backlog.admit()
    broker.ready = 7
    await backlog.refresh()

    with pytest.raises(Overloaded, match="8 messages"):
        backlog.admit()


async def test_everything_is_admitted_while_nothing_is_known(threads):
    broker, metrics = CountedBroker(), Metrics()
    broker.ready = 7
    backlog = QueueDepths(broker, threads, metrics, bound=3)
    await backlog.refresh()
    broker.away = True
    with pytest.raises(BrokerUnavailable):
        await backlog.refresh()

    backlog.admit()
    assert backlog.problem == "The queue is away."
    assert backlog.counts == {}
    assert metrics.registry.get_sample_value("aimq_dependency_up", {"dependency": "broker"}) == 0
