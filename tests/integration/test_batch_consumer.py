"""The consumer on the embedded broker and store: every message is accounted for."""

import threading
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest

from aimq.backoff import RetryPolicy
from aimq.broker.connect import connect_broker
from aimq.broker.topology import TASKS
from aimq.errors import (
    Invalid,
    MlUnavailable,
    Overloaded,
    StoreUnavailable,
    TimedOut,
)
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job, Status
from aimq.messages import Kind, Message
from aimq.settings import load_settings
from batch_processor.claiming import Claims
from batch_processor.consumer import Consumer
from batch_processor.consumers import Consumers
from batch_processor.context import ConsumerConfig, ConsumerContext
from batch_processor.disposition import Ack
from batch_processor.work import one_by_one
from tests.job_changes import PATIENCE, until

KIND = Kind.PREDICTION


class FaultyStore:
    """The real store; methods named in `away` raise as if the server were gone."""

    def __init__(self, store):
        self._store = store
        self.away = set()
        self.calls = []

    def __getattr__(self, name):
        method = getattr(self._store, name)

        def call(*args, **kwargs):
            self.calls.append(name)
            if name in self.away:
                raise StoreUnavailable("The job store cannot be reached.")
            return method(*args, **kwargs)

        return call


@dataclass
class Plant:
    """A broker, a store, and consumers whose handler is the test's function."""

    broker: object
    store: FaultyStore
    lease: float = 5.0
    function: object = None
    handler: object = None
    batch: int = 1
    concurrency: int = 2
    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(3, 0.01, 0.05))
    consumers: Consumers = None
    config: ConsumerConfig = None
    context: ConsumerContext = None

    def start(self):
        self.config = ConsumerConfig(
            kind=KIND, handler=self.handler or one_by_one(self.function),
            policy=self.policy, threads=self.concurrency, prefetch=64, batch=self.batch,
        )  # fmt: skip
        self.context = ConsumerContext(
            store=self.store, publish=self.broker.publish,
            claims=Claims(self.store, "test", self.lease), delivery_limit=3,
        )  # fmt: skip
        self.consumers = Consumers(self.broker, self.context, [self.config])
        self.consumers.start()

    def submit(self, count=1):
        jobs = self.store.create([Job(kind=KIND) for _ in range(count)])
        wait([self.broker.publish(TASKS, Message(job_id=j.job_id, kind=KIND)) for j in jobs])
        return [job.job_id for job in jobs]

    def until(self, condition):
        until(self.store, condition)

    def job(self, job_id):
        return self.store.get(job_id)

    def finished(self, job_id):
        self.until(lambda: self.job(job_id).final)
        return self.job(job_id)

    def quiet(self):
        """Wait until the work queue holds nothing in any form."""

        def counts():
            return self.broker.counts(TASKS)

        self.until(lambda: (c := counts()).ready == c.held == c.delayed == 0)
        return counts()

    def dead(self):
        return self.broker.dead_letters(TASKS)


@pytest.fixture
def plant(tmp_path):
    settings = load_settings(data_dir=tmp_path, retry_base_seconds=0.01, retry_max_seconds=0.05)
    broker, store = connect_broker(settings), connect_store(settings)
    plant = Plant(broker, FaultyStore(store))
    yield plant
    plant.store.away.clear()
    if plant.consumers:
        plant.consumers.stop(5.0)
    broker.close()
    store.close()


def raising(*errors):
    """Return a function that raises these, one per call, and then succeeds."""
    left = list(errors)

    def function(_work):
        if left:
            raise left.pop(0)
        return Ack(result=b"1")

    return function


def test_done_work_is_stored_and_its_message_acked(plant):
    plant.function = lambda work: Ack(result=b"42", counts={"rows_done": 7})
    plant.start()
    [job_id] = plant.submit()
    job = plant.finished(job_id)
    assert (job.status, job.result, job.rows_done, job.attempts) == (Status.DONE, b"42", 7, 1)
    assert plant.quiet().dead == 0


def test_transient_errors_are_retried_until_the_work_is_done(plant):
    plant.function = raising(MlUnavailable("away"), Overloaded("busy", retry_after=0.01))
    plant.start()
    [job_id] = plant.submit()
    job = plant.finished(job_id)
    assert (job.status, job.attempts, job.error) == (Status.DONE, 3, None)
    assert plant.quiet().dead == 0


def test_a_job_that_waits_for_a_retry_says_so_and_holds_no_worker(plant):
    plant.policy = RetryPolicy(3, 60.0, 60.0)
    plant.concurrency = 1
    plant.function = raising(Overloaded("The ML service is overloaded."))
    plant.start()
    [first] = plant.submit()
    plant.until(lambda: plant.job(first).status is Status.RETRYING)
    assert plant.job(first).error == "The ML service is overloaded."
    [second] = plant.submit()
    assert plant.finished(second).status is Status.DONE
    assert plant.broker.counts(TASKS).delayed == 1


def test_exhausted_retries_end_in_the_dead_letters_and_a_replay_completes_the_job(plant):
    plant.function = raising(*[TimedOut("No answer in time.")] * 3)
    plant.start()
    [job_id] = plant.submit()
    job = plant.finished(job_id)
    assert job.status is Status.FAILED
    assert "Given up after 3 attempts" in job.error
    assert plant.quiet().dead == 1
    [letter] = plant.dead()
    assert (letter.message_id, letter.failure.error) == (job_id, job.error)
    assert letter.failure.error_type == "TimedOut"
    assert not letter.failure.unprocessable
    assert letter.first_failed_at <= letter.last_failed_at
    plant.store.requeue(job_id)
    plant.broker.replay(TASKS, letter.id)
    assert plant.finished(job_id).status is Status.DONE
    assert plant.quiet().dead == 0


def test_a_permanent_error_fails_the_job_at_once(plant):
    plant.function = raising(Invalid("Add the column doors."))
    plant.start()
    [job_id] = plant.submit()
    job = plant.finished(job_id)
    assert (job.status, job.error, job.attempts) == (Status.FAILED, "Add the column doors.", 1)
    assert plant.quiet().dead == 1


@pytest.mark.parametrize("bug", [ValueError("boom"), SystemExit(3), KeyboardInterrupt()])
def test_a_bug_in_a_handler_neither_loses_the_message_nor_ends_the_worker(plant, bug):
    plant.concurrency = 1
    plant.function = raising(bug, bug, bug)
    plant.start()
    [first] = plant.submit()
    assert plant.finished(first).status is Status.FAILED
    [second] = plant.submit()
    assert plant.finished(second).status is Status.DONE
    assert plant.quiet().dead == 1


def test_a_bug_that_stays_fails_the_job_without_showing_its_details(plant):
    plant.function = raising(*[ValueError("secret")] * 3)
    plant.start()
    [job_id] = plant.submit()
    job = plant.finished(job_id)
    assert job.status is Status.FAILED
    assert "secret" not in job.error
    plant.quiet()
    assert "ValueError: secret" in plant.dead()[0].failure.traceback


class OneShot:
    """A subscription that gives out one delivery with another body; settles through the real."""

    def __init__(self, subscription, body):
        self._subscription, self._body = subscription, body

    def receive(self, limit=1, timeout=None):
        return [replace(d, body=self._body) for d in self._subscription.receive(limit, timeout)]

    def __getattr__(self, name):
        return getattr(self._subscription, name)


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b'{"schema":1}', b'{"schema":9,"job_id":"x","kind":"prediction"}',
     b'{"schema":1,"job_id":"x","kind":"dance"}', b'{"schema":1,"job_id":"x","kind":"spreadsheet"}',
     b"x" * 10_000_000],
    ids=["empty", "text", "list", "fields missing", "version", "kind", "not ours", "10 MB"],
)  # fmt: skip
def test_a_message_nobody_can_process_is_dead_lettered_and_its_job_failed(plant, body):
    plant.function = raising()
    plant.start()
    plant.consumers.stop(5.0)
    [job_id] = plant.submit()
    subscription = OneShot(plant.broker.subscribe(TASKS, 1), body)
    consumer = Consumer(subscription, plant.config, plant.context)
    consumer.process(subscription.receive(timeout=PATIENCE))
    assert plant.quiet().dead == 1
    assert plant.dead()[0].failure.unprocessable
    assert plant.job(job_id).status is Status.FAILED
    subscription.close()


def test_a_message_of_an_unknown_job_is_dead_lettered_and_the_next_one_done(plant):
    plant.function = raising()
    plant.start()
    wait([plant.broker.publish(TASKS, Message(job_id="gone", kind=KIND))])
    [job_id] = plant.submit()
    assert plant.finished(job_id).status is Status.DONE
    assert plant.quiet().dead == 1
    assert plant.dead()[0].failure.unprocessable


def test_a_job_cancelled_while_queued_is_not_worked_on(plant):
    called = []
    plant.function = lambda work: called.append(work) or Ack()
    [job_id] = plant.submit()
    plant.store.cancel(job_id)
    plant.start()
    assert plant.quiet().dead == 0
    assert not called
    assert plant.job(job_id).status is Status.CANCELLED


def test_a_job_cancelled_while_worked_on_is_stopped(plant):
    plant.lease = 0.3
    started, stopped = threading.Event(), threading.Event()

    def function(work):
        started.set()
        try:
            while not stopped.wait(0.01):
                work.check()
        finally:
            stopped.set()

    plant.function = function
    plant.start()
    [job_id] = plant.submit()
    assert started.wait(PATIENCE)
    plant.store.cancel(job_id)
    assert stopped.wait(PATIENCE)
    assert plant.quiet().dead == 0
    assert plant.job(job_id).status is Status.CANCELLED


def test_a_message_of_a_job_that_failed_without_its_dead_letter_is_dead_lettered(plant):
    [job_id] = plant.submit()
    plant.store.fail(job_id, "It failed, and then the worker was killed.")
    plant.start()
    assert plant.quiet().dead == 1
    assert plant.dead()[0].failure.error == "It failed, and then the worker was killed."


def test_a_message_of_a_job_that_is_done_is_acked(plant):
    called = []
    plant.function = lambda work: called.append(work) or Ack()
    plant.start()
    [job_id] = plant.submit()
    plant.finished(job_id)
    wait([plant.broker.publish(TASKS, Message(job_id=job_id, kind=KIND))])
    assert plant.quiet().dead == 0
    assert len(called) == 1


def test_a_job_held_by_a_dead_worker_is_done_once_its_lease_has_run_out(plant):
    plant.function = raising()
    [job_id] = plant.submit()
    plant.store.claim([job_id], "dead worker", 0.3)
    plant.start()
    assert plant.finished(job_id).status is Status.DONE
    assert plant.quiet().dead == 0


def killed(plant, job_id, times):
    """Claim a job as workers that die."""
    for _ in range(times):
        plant.store.claim([job_id], "dead worker", 0.01)
        threading.Event().wait(0.02)  # the lease runs out by the store's clock


def test_a_poison_job_is_given_up_untouched_and_the_queue_behind_it_goes_on(plant):
    touched = []
    plant.function = lambda work: touched.append(work.job.job_id) or Ack()
    poison, innocent = plant.submit(2)
    killed(plant, poison, 3)
    plant.start()
    job = plant.finished(poison)
    assert job.status is Status.FAILED
    assert "death of its worker" in job.error
    assert plant.finished(innocent).status is Status.DONE
    assert touched == [innocent]
    assert plant.quiet().dead == 1


def test_a_job_that_killed_a_worker_is_worked_on_alone(plant):
    lock, together, most = threading.Lock(), set(), {}
    plant.concurrency = 4

    def function(work):
        with lock:
            together.add(work.job.job_id)
            for job_id in together:
                most[job_id] = max(most.get(job_id, 0), len(together))
        threading.Event().wait(0.02)
        with lock:
            together.discard(work.job.job_id)
        return Ack()

    plant.function = function
    ids = plant.submit(12)
    killed(plant, ids[5], 1)
    plant.start()
    for job_id in ids:
        assert plant.finished(job_id).status is Status.DONE
    assert most[ids[5]] == 1
    assert max(most.values()) > 1


def test_a_result_is_kept_while_the_store_is_away_and_the_work_not_done_twice(plant):
    done = []

    def function(work):
        done.append(work)
        plant.store.away = {"settle", "renew", "claim"}
        return Ack(result=b"1")

    plant.function = function
    plant.start()
    [job_id] = plant.submit()
    plant.until(lambda: "settle" in plant.store.calls)
    assert plant.job(job_id).status is Status.PROCESSING
    plant.store.away = set()
    assert plant.finished(job_id).status is Status.DONE
    assert len(done) == 1
    assert plant.quiet().dead == 0


def test_messages_wait_while_the_store_is_away(plant):
    plant.function = raising()
    [job_id] = plant.submit()
    plant.store.away = {"claim"}
    plant.start()
    plant.until(lambda: plant.store.calls.count("claim") >= 5)
    plant.store.away = set()
    job = plant.finished(job_id)
    assert (job.status, job.attempts) == (Status.DONE, 1)
    assert plant.quiet().dead == 0


def test_what_is_in_hand_is_finished_when_asked_to_stop(plant):
    started, go_on = threading.Event(), threading.Event()

    def function(work):
        started.set()
        go_on.wait(PATIENCE)
        return Ack()

    plant.function = function
    plant.start()
    [job_id] = plant.submit()
    assert started.wait(PATIENCE)
    stopper = threading.Thread(target=plant.consumers.stop, args=(PATIENCE,))
    stopper.start()
    go_on.set()
    stopper.join()
    assert plant.job(job_id).status is Status.DONE
    assert plant.quiet().dead == 0


@pytest.mark.parametrize("obliging", [True, False])
def test_what_cannot_be_finished_in_time_is_requeued(plant, obliging):
    started, release = threading.Event(), threading.Event()

    def function(work):
        started.set()
        while not release.wait(0.01):
            if obliging:
                work.check()
        return Ack()

    plant.function = function
    plant.concurrency = 1
    plant.start()
    ids = plant.submit(3)
    assert started.wait(PATIENCE)
    plant.consumers.stop(0.4)
    release.set()
    plant.until(lambda: plant.broker.counts(TASKS).ready == 3)
    assert [plant.job(job_id).status for job_id in ids] == [Status.QUEUED] * 3
    [claim] = plant.store.claim(ids[:1], "next", 10.0)
    assert claim.crashes == 0


def test_a_handler_of_batches_gets_many_at_once_and_each_job_its_own_result(plant):
    sizes = []

    def many(works):
        sizes.append(len(works))
        return [
            Invalid("odd") if int(work.job.job_id, 16) % 2 else Ack(result=b"2") for work in works
        ]

    plant.handler, plant.batch = many, 10
    plant.concurrency = 1
    ids = plant.submit(40)
    plant.start()
    for job_id in ids:
        job = plant.finished(job_id)
        assert job.status is (Status.FAILED if int(job_id, 16) % 2 else Status.DONE)
    assert max(sizes) > 1
    assert plant.quiet().dead == sum(int(job_id, 16) % 2 for job_id in ids)


def test_a_job_that_crashed_a_worker_is_worked_on_once_and_alone_though_received_with_others(plant):
    plant.lease = 0.3
    calls = []

    def many(works):
        calls.append([work.job.job_id for work in works])
        threading.Event().wait(0.9 if len(works) > 1 else 0.0)  # three leases long
        return [Ack() for _ in works]

    plant.handler, plant.batch = many, 10
    plant.concurrency = 1
    ids = plant.submit(5)
    killed(plant, ids[0], 1)
    plant.start()
    assert [plant.finished(job_id).status for job_id in ids] == [Status.DONE] * 5
    assert calls.count([ids[0]]) == 1
    assert sum(map(len, calls)) == 5


class Death(BaseException):
    """Stands for the end of the process in the middle of the work."""


def test_a_poison_job_takes_no_other_with_it_however_many_are_taken_together(plant):
    """Each round is a process that takes all that waits, and dies where it meets the poison."""
    ids = plant.submit(6)
    poison = ids[2]

    def many(works):
        if any(work.job.job_id == poison for work in works):
            raise Death
        return [Ack() for _ in works]

    plant.handler, plant.batch = many, 10
    plant.start()
    plant.consumers.stop(5.0)  # its threads; the test is the only worker
    context = replace(plant.context, claims=Claims(plant.store, "test", 0.01))
    rounds = 0
    while not plant.job(poison).final:
        rounds += 1
        subscription = plant.broker.subscribe(TASKS, 64)
        consumer = Consumer(subscription, plant.config, context)
        consumer._handle = many  # lets it die
        with suppress(Death):
            while deliveries := subscription.receive(64, timeout=0.1):
                consumer.process(deliveries)
        for delivery in deliveries:
            subscription.requeue(delivery)  # as the broker does for the dead
        subscription.close()
        threading.Event().wait(0.02)  # the leases run out
    statuses = {job_id: plant.job(job_id).status for job_id in ids}
    assert statuses.pop(poison) is Status.FAILED
    assert set(statuses.values()) == {Status.DONE}
    assert rounds > 3
