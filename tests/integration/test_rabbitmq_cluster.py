"""What the loss of a node does to messages under load: quorum queues on three nodes."""

import threading
import uuid
from collections import Counter
from concurrent.futures import wait

import pytest

from aimq.broker.port import Failure
from aimq.broker.rabbitmq import RabbitBroker
from aimq.errors import BrokerUnavailable
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, Outcome, Refusal
from aimq.jobs.sqlite import SqliteStore
from aimq.messages import Kind, Message, decode
from aimq.settings import Settings
from tests.servers.plugin import private
from tests.servers.rabbitmq_cluster import RabbitCluster

pytestmark = [pytest.mark.faults, pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE = 60.0
LEASE = 60.0
#: Jobs made at once, and the pause before the next.
GROUP, PAUSE = 20, 0.1
FAILURE = Failure(error="at first", error_type="MlUnavailable")


@pytest.fixture(scope="module")
def cluster():
    with private(RabbitCluster) as cluster:
        yield cluster


@pytest.fixture
def load(cluster, tmp_path):
    """Jobs that are made, published and worked on until the end of the test."""
    with SystemUnderLoad(cluster, tmp_path) as load:
        yield load


class SystemUnderLoad:
    """A publisher and two consumers, each connected to another node first, and a job store.

    Attributes:
        queue: its work queue; every node holds it.
        finished: how often the outcome "done" of each job was stored.
        deliveries: how often each job's message was received.
        refused: why publications failed, and how often; they were made again.
    """

    def __init__(self, cluster, folder):
        settings = Settings(store_url=f"sqlite:///{folder / 'jobs.db'}")
        self._store = SqliteStore(settings)
        self._brokers = [
            RabbitBroker(Settings(broker_url=cluster.url(first=first, options="?heartbeat=2")))
            for first in range(3)
        ]
        self.queue = f"aimq.test-{uuid.uuid4().hex[:12]}"
        self.finished, self.deliveries, self.refused = Counter(), Counter(), Counter()
        self._accepted = set()
        self._changed = threading.Condition()
        self._quiet, self._over = threading.Event(), threading.Event()

    def __enter__(self):
        self._brokers[0].counts(self.queue)
        self._publisher = threading.Thread(target=self._publish)
        self._consumers = [
            threading.Thread(target=self._consume, args=[broker, f"consumer {number}"])
            for number, broker in enumerate(self._brokers[1:])
        ]
        for thread in (self._publisher, *self._consumers):
            thread.start()
        return self

    def __exit__(self, *_):
        self._quiet.set()
        self._over.set()
        for thread in (self._publisher, *self._consumers):
            thread.join(PATIENCE)
        for broker in self._brokers:
            broker.close()
        self._store.close()

    def await_more(self, count):
        """Wait until `count` more jobs than now are done."""
        wanted = len(self.finished) + count
        with self._changed:
            reached = self._changed.wait_for(lambda: len(self.finished) >= wanted, PATIENCE)
        assert reached, f"{wanted - len(self.finished)} fewer are done; refused: {self.refused}"

    def await_end(self):
        """Make no more jobs, and wait until all are done. Return their final records."""
        self._quiet.set()
        self._publisher.join(PATIENCE)
        assert not self._publisher.is_alive(), f"messages are refused: {self.refused}"
        with self._changed:
            self._changed.wait_for(lambda: self._accepted <= set(self.finished), PATIENCE)
        left = len(self._accepted - set(self.finished))
        assert left == 0, f"{left} of {len(self._accepted)} are not done"
        return [self._store.get(job_id) for job_id in self._accepted]

    def left(self):
        """Return how many messages are left, in work, retry and dead-letter queues."""
        counts = self._brokers[0].counts(self.queue)
        return counts.ready + counts.delayed + counts.dead

    def _publish(self):
        waiting = []
        while not self._over.is_set() and (waiting or not self._quiet.is_set()):
            if not self._quiet.is_set():
                jobs = self._store.create([Job(kind=Kind.PREDICTION) for _ in range(GROUP)])
                self._accepted |= {job.job_id for job in jobs}
                waiting += [job.job_id for job in jobs]
            waiting = self._publish_once(waiting)
            self._over.wait(PAUSE)

    def _publish_once(self, job_ids):
        """Publish messages; return the ids of those that were not confirmed."""
        sent = {
            job_id: self._brokers[0].publish(
                self.queue, Message(job_id=job_id, kind=Kind.PREDICTION)
            )
            for job_id in job_ids
        }
        wait(sent.values())
        failed = [job_id for job_id, future in sent.items() if future.exception() is not None]
        assert all(isinstance(sent[job_id].exception(), BrokerUnavailable) for job_id in failed)
        self.refused.update(str(sent[job_id].exception()) for job_id in failed)
        return failed

    def _consume(self, broker, name):
        subscription = broker.subscribe(self.queue, prefetch=100)
        while not self._over.is_set():
            came = {}
            for delivery in subscription.receive(50, timeout=0.2):
                came.setdefault(decode(delivery.body).job_id, []).append(delivery)
            if came:
                self._work(subscription, name, came)

    def _work(self, subscription, name, came):
        with self._changed:
            self.deliveries.update({job_id: len(each) for job_id, each in came.items()})
        answers = self._store.claim(list(came), name, LEASE)
        outcomes = [self._outcome(each) for each in answers if isinstance(each, Claim)]
        stored = self._store.settle(outcomes)
        kept = [outcome for outcome, kept in zip(outcomes, stored, strict=True) if kept]
        self._count(each.claim.job.job_id for each in kept if each.status is Status.DONE)
        retried = {each.claim.job.job_id for each in kept if each.status is Status.RETRYING}
        held = {a.job_id for a in answers if getattr(a, "reason", None) is Refusal.HELD}
        for job_id, deliveries in came.items():
            for delivery in deliveries:
                if job_id in retried:
                    subscription.retry(delivery, 0.5, FAILURE)
                elif job_id in held:
                    subscription.defer(delivery, 0.5)
                else:
                    subscription.ack(delivery)

    @staticmethod
    def _outcome(claim):
        """One job in sixteen is done at the second attempt."""
        again = claim.job.attempts == 1 and claim.job.job_id.endswith("0")
        return Outcome(claim=claim, status=Status.RETRYING if again else Status.DONE)

    def _count(self, job_ids):
        with self._changed:
            self.finished.update(job_ids)
            self._changed.notify_all()


def assert_all_done_once(load):
    jobs = load.await_end()
    assert {job.status for job in jobs} == {Status.DONE}
    assert set(load.finished) == {job.job_id for job in jobs}
    assert set(load.finished.values()) == {1}
    assert len(jobs) > 1000
    assert load.left() == 0


def test_all_is_done_once_when_the_leader_of_the_queue_is_killed(cluster, load):
    load.await_more(500)
    leader = cluster.leader(load.queue)

    leader.kill()
    load.await_more(500)
    leader.start()
    cluster.await_whole(load.queue)
    load.await_more(100)

    assert_all_done_once(load)


def test_all_is_done_once_when_a_node_is_cut_off_and_healed(cluster, load):
    load.await_more(500)
    leader = cluster.leader(load.queue)

    leader.pause()
    try:
        cluster.await_away(leader)
        load.await_more(500)
    finally:
        leader.resume()
    cluster.await_whole(load.queue)
    load.await_more(100)

    assert_all_done_once(load)


def test_all_is_done_once_when_the_nodes_are_restarted_in_turn(cluster, load):
    load.await_more(100)
    for node in cluster.nodes:
        node.stop()
        load.await_more(100)
        node.start()
        cluster.await_whole(load.queue)

    assert_all_done_once(load)
