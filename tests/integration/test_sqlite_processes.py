"""The SQLite adapters between processes: waking, leases, claims."""

import subprocess
import sys
import threading

import pytest

from aimq.broker.sqlite import SqliteBroker
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, Outcome
from aimq.jobs.sqlite import SqliteStore
from aimq.messages import Kind, Message
from aimq.settings import Settings
from aimq.sqlite import notifier
from aimq.sqlite.writer import Transaction

PATIENCE = 20
MESSAGE = Message(job_id="1", kind=Kind.SPREADSHEET)

PUBLISH = """
import sys
from aimq.broker.sqlite import SqliteBroker
from aimq.messages import Kind, Message
from aimq.settings import Settings

broker = SqliteBroker(Settings(data_dir=sys.argv[1]))
broker.publish("q", Message(job_id="1", kind=Kind.SPREADSHEET)).result()
broker.close()
"""

FINISH = """
import sys
from aimq.jobs.job import Status
from aimq.jobs.port import Outcome
from aimq.jobs.sqlite import SqliteStore
from aimq.settings import Settings

store = SqliteStore(Settings(data_dir=sys.argv[1]))
(claim,) = store.claim([sys.argv[2]], "worker", 10)
store.progress(claim, rows_total=2, rows_done=1, rows_failed=0)
assert store.settle([Outcome(claim=claim, status=Status.DONE, result=b"{}")]) == [True]
store.close()
"""


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path, lease_seconds=0.5)


@pytest.fixture
def other(settings):
    broker = SqliteBroker(settings)
    yield broker
    broker.close()


def run(code, *arguments):
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)


def start_receiving(subscription):
    received = []
    thread = threading.Thread(target=lambda: received.extend(subscription.receive()))
    thread.start()
    return thread, received


def test_a_consumer_is_woken_without_polling(broker, settings, monkeypatch):
    monkeypatch.setattr(notifier, "POLL_SECONDS", 3600)
    waiting, received = start_receiving(broker.subscribe("q", prefetch=1))

    run(PUBLISH, settings.data_dir)

    waiting.join(PATIENCE)
    assert len(received) == 1


def test_a_consumer_polls_where_datagrams_do_not_reach(broker, other, monkeypatch):
    monkeypatch.setattr(Transaction, "listening", lambda self: set())
    waiting, received = start_receiving(broker.subscribe("q", prefetch=1))

    other.publish("q", MESSAGE).result(PATIENCE)

    waiting.join(PATIENCE)
    assert len(received) == 1


def test_a_lease_is_renewed_as_long_as_its_consumer_lives(broker, other, settings):
    broker.publish("q", MESSAGE).result(PATIENCE)
    subscription = broker.subscribe("q", prefetch=1)
    (held,) = subscription.receive(timeout=PATIENCE)

    assert other.subscribe("q", prefetch=1).receive(timeout=3 * settings.lease_seconds) == []

    assert subscription.ack(held).result(PATIENCE) is True


def test_a_delivery_whose_lease_was_lost_settles_to_false(broker, other):
    broker.publish("q", MESSAGE).result(PATIENCE)
    stalled = broker.subscribe("q", prefetch=1)
    (stale,) = stalled.receive(timeout=PATIENCE)
    broker._stop.set()  # as if the process were suspended
    subscription = other.subscribe("q", prefetch=1)
    (fresh,) = subscription.receive(timeout=PATIENCE)

    assert stalled.ack(stale).result(PATIENCE) is False

    assert fresh.redelivered
    assert subscription.ack(fresh).result(PATIENCE) is True


def test_a_lost_lease_makes_room_for_the_next_message(broker, other, caplog):
    broker.publish("q", MESSAGE).result(PATIENCE)
    stalled = broker.subscribe("q", prefetch=1)
    stalled.receive(timeout=PATIENCE)
    broker._stop.set()
    subscription = other.subscribe("q", prefetch=2)
    subscription.receive(timeout=PATIENCE)
    waiting, received = start_receiving(stalled)
    other.publish("q", MESSAGE).result(PATIENCE)

    stalled.renew()

    subscription.close()
    waiting.join(PATIENCE)
    assert len(received) == 1
    assert "lost to a lapsed lease" in caplog.text


def test_a_watcher_sees_what_another_process_does(store, settings):
    job = Job(kind=Kind.PREDICTION, input=b"work")
    seen, final = [], threading.Event()

    def listen(changed):
        seen.append(changed)
        if changed.final:
            final.set()

    end = store.watch(listen)
    store.create([job])

    run(FINISH, settings.data_dir, job.job_id)

    assert final.wait(PATIENCE)
    assert seen[-1].job_id == job.job_id
    assert (seen[-1].status, seen[-1].rows_done) == (Status.DONE, 1)
    assert (seen[-1].input, seen[-1].result) == (b"", b"")
    end()


def test_a_listener_that_fails_leaves_the_others_alone(store, caplog):
    told = threading.Event()

    def fail(job):
        raise RuntimeError

    store.watch(fail)
    store.watch(lambda job: told.set())

    store.create([Job(kind=Kind.PREDICTION)])

    assert told.wait(PATIENCE)
    assert "A listener failed" in caplog.text


def test_a_watcher_misses_no_change_however_many_there_are(store):
    jobs = [Job(kind=Kind.PREDICTION) for _ in range(1500)]
    seen, everything = set(), threading.Event()

    def listen(job):
        seen.add(job.job_id)
        if len(seen) == len(jobs):
            everything.set()

    store.watch(listen)
    store.create(jobs)

    assert everything.wait(PATIENCE)
    assert seen == {job.job_id for job in jobs}


def test_of_concurrent_claims_one_wins(settings):
    stores = [SqliteStore(settings) for _ in range(4)]
    jobs = [job.job_id for job in stores[0].create([Job(kind=Kind.PREDICTION) for _ in range(50)])]
    won = []

    def grab(store):
        won.extend(c.job.job_id for c in store.claim(jobs, "me", 60) if isinstance(c, Claim))

    threads = [threading.Thread(target=grab, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    for store in stores:
        store.close()

    assert sorted(won) == sorted(jobs)


def test_broker_and_store_may_have_a_file_each(tmp_path):
    settings = Settings(
        data_dir=tmp_path,
        broker_url=f"sqlite:///{tmp_path}/queue.db",
        store_url=f"sqlite:///{tmp_path}/jobs.db",
    )
    broker, store = SqliteBroker(settings), SqliteStore(settings)
    (job,) = store.create([Job(kind=Kind.PREDICTION)])
    broker.publish("q", Message(job_id=job.job_id, kind=job.kind)).result(PATIENCE)
    broker.close()
    store.close()

    assert {file.name for file in tmp_path.iterdir()} == {"queue.db", "jobs.db"}


@pytest.mark.parametrize("condition", ["", "AND status = 'done'"])
def test_the_newest_jobs_are_found_by_index(store, condition):
    with store._database.reading() as connection:
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN SELECT job_id FROM job WHERE created_at > 0 {condition}"
            " ORDER BY created_at DESC, number DESC LIMIT 5"
        ).fetchall()

    assert len(plan) == 1
    assert "USING INDEX" in plan[0][3]


def test_a_settled_job_is_found_again_whole(store):
    (job,) = store.create([Job(kind=Kind.PREDICTION, filename="ünï.xlsx", input=b"\0\xff")])
    (claim,) = store.claim([job.job_id], "me", 60)
    outcome = Outcome(
        claim=claim,
        status=Status.DONE,
        result=b"\0r",
        model_versions={"A": "1"},
        counts={"rows_total": 3, "rows_done": 2, "rows_failed": 1},
    )

    assert store.settle([outcome, outcome]) == [True, False]

    found = store.get(job.job_id)
    assert (found.filename, found.input, found.result) == ("ünï.xlsx", b"\0\xff", b"\0r")
    assert (found.rows_total, found.rows_done, found.rows_failed) == (3, 2, 1)
    assert found.model_versions == {"A": "1"}
    assert found.created_at == job.created_at
