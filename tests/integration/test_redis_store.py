"""What only a Redis server that fails, refuses or comes back can show."""

import logging
import multiprocessing
import socket
import threading

import pytest
import redis

from aimq.errors import InternalError, StoreUnavailable
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, Outcome, Refusal
from aimq.jobs.redis.store import RedisStore
from aimq.messages import Kind
from aimq.settings import Settings

pytestmark = pytest.mark.redis
PATIENCE = 20.0
LONG = 600.0


@pytest.fixture
def admin(redis_server):
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def connect(admin, redis_server):
    stores = []

    def connect(url=redis_server.url):
        stores.append(RedisStore(Settings(store_url=url)))
        return stores[-1]

    yield connect
    for store in stores:
        store.close()


@pytest.fixture
def store(connect):
    return connect()


@pytest.fixture
def configured(admin):
    """Sets the server's settings for one test."""
    before = {}

    def configure(name, value):
        before.setdefault(name, admin.config_get(name)[name])
        admin.config_set(name, value)

    yield configure
    for name, value in before.items():
        admin.config_set(name, value)


class Seen:
    def __init__(self):
        self.last = {}
        self._changed = threading.Condition()

    def __call__(self, job):
        with self._changed:
            self.last[job.job_id] = job
            self._changed.notify_all()

    def await_(self, job_id, status):
        with self._changed:
            assert self._changed.wait_for(
                lambda: job_id in self.last and self.last[job_id].status is status, PATIENCE
            )


def made(store, **values):
    (job,) = store.create([Job(kind=Kind.SPREADSHEET, **values)])
    return job


def claimed(store):
    (claim,) = store.claim([made(store).job_id], "worker", LONG)
    assert isinstance(claim, Claim)
    return claim


def answers_lost(store, monkeypatch, times=1):
    """Let commands be carried out and their answers be lost with the connection."""
    real, left = store._server._client.execute_command, [times]

    def execute(*command):
        answer = real(*command)
        if left[0]:
            left[0] -= 1
            raise redis.ConnectionError("Connection closed by server.")
        return answer

    monkeypatch.setattr(store._server._client, "execute_command", execute)


# the server goes and comes


def test_a_killed_server_fails_calls_until_it_is_back_with_all_it_confirmed(redis_server, store):
    claim = claimed(store)
    seen = Seen()
    store.watch(seen)
    redis_server.kill()
    try:
        for call in (
            store.check,
            lambda: store.get(claim.job.job_id),
            lambda: made(store),
            lambda: store.claim(["id"], "worker", LONG),
            lambda: store.settle([Outcome(claim=claim, status=Status.DONE)]),
            lambda: store.take_expired(LONG),
        ):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                call()
    finally:
        redis_server.start()
    store.check()
    assert store.get(claim.job.job_id) == claim.job
    assert store.settle([Outcome(claim=claim, status=Status.DONE)]) == [True]
    seen.await_(claim.job.job_id, Status.DONE)


def test_changes_made_while_a_watch_was_cut_off_are_made_up_for(admin, connect):
    watching, working = connect(), connect()
    seen = Seen()
    watching.watch(seen)
    first = made(working)
    seen.await_(first.job_id, Status.QUEUED)
    held, read = threading.Event(), watching._server.run

    def cut_off(*args, **kwargs):
        if not held.is_set():
            raise StoreUnavailable("cut off")
        return read(*args, **kwargs)

    watching._server.run = cut_off
    admin.client_kill_filter(_type="pubsub")
    jobs = [made(working) for _ in range(700)]  # more than one page
    working.cancel(first.job_id)
    held.set()
    for job in jobs:
        seen.await_(job.job_id, Status.QUEUED)
    seen.await_(first.job_id, Status.CANCELLED)


def test_a_watch_may_begin_before_the_server(redis_server, store):
    redis_server.kill()
    seen = Seen()
    try:
        store.watch(seen)
    finally:
        redis_server.start()
    job = made(store)
    seen.await_(job.job_id, Status.QUEUED)


def test_a_silent_server_is_given_up_on(redis_server, connect):
    store = connect(f"{redis_server.url}?socket_timeout=0.2")
    store.check()
    redis_server.pause()
    try:
        with pytest.raises(StoreUnavailable, match="did not answer"):
            store.check()
    finally:
        redis_server.resume()
    store.check()


def test_nobody_there_is_said_with_the_address():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    store = RedisStore(Settings(store_url=f"redis://user:secret@127.0.0.1:{port}/0"))
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port} cannot be reached") as caught:
        store.check()
    assert "secret" not in caught.value.detail
    store.close()


def test_scripts_the_server_has_forgotten_are_loaded_again(admin, store):
    job = made(store)
    admin.script_flush()
    assert store.recent() == [job]


# answers lost


def test_a_creation_whose_answer_was_lost_is_not_made_twice(admin, store, monkeypatch):
    made(store)  # loads the script
    answers_lost(store, monkeypatch)
    job, key = Job(kind=Kind.SPREADSHEET), "key"
    assert store.create([job], [key]) == [job]
    assert len(store.recent()) == 2


def test_a_claim_whose_answer_was_lost_is_the_callers(store, monkeypatch):
    job = made(store)
    store.claim(["load the script"], "worker", LONG)
    answers_lost(store, monkeypatch)
    (claim,) = store.claim([job.job_id], "worker", LONG)
    assert isinstance(claim, Claim)
    assert (claim.job.attempts, claim.crashes) == (1, 0)
    assert store.renew([claim], LONG) == [True]
    (refused,) = store.claim([job.job_id], "another", LONG)
    assert refused.reason is Refusal.HELD


def test_an_outcome_whose_answer_was_lost_is_stored_once(store, monkeypatch):
    claims = [claimed(store) for _ in range(2)]
    store.settle([Outcome(claim=claimed(store), status=Status.DONE)])
    answers_lost(store, monkeypatch)
    outcomes = [Outcome(claim=claims[0], status=Status.RETRYING, error="later"),
                Outcome(claim=claims[1], status=Status.DONE)]  # fmt: skip
    assert store.settle(outcomes) == [True, True]
    assert store.settle(outcomes) == [False, False]


def test_what_cannot_be_repeated_fails_when_its_answer_is_lost(store, monkeypatch):
    job = made(store)
    store.delete("load the script")
    answers_lost(store, monkeypatch)
    with pytest.raises(StoreUnavailable):
        store.delete(job.job_id)
    assert store.delete(job.job_id) is False


# the server refuses


def test_a_server_without_memory_is_said(store, configured):
    store.check()
    made(store)
    configured("maxmemory", "1")
    with pytest.raises(StoreUnavailable, match="raise maxmemory"):
        store.check()
    with pytest.raises(StoreUnavailable, match="raise maxmemory"):
        made(store)
    assert len(store.recent()) == 1  # reading goes on


def test_a_replica_is_said(admin, store, configured):
    store.check()
    admin.slaveof("127.0.0.1", 1)
    try:
        with pytest.raises(StoreUnavailable, match="read-only replica"):
            made(store)
    finally:
        admin.slaveof()
    made(store)


def test_a_wrong_password_is_said(redis_server, connect, admin):
    admin.acl_setuser("limited", enabled=True, passwords=["+right"], categories=["+@all"],
                      keys=["*"], channels=["*"])  # fmt: skip
    try:
        connect(redis_server.url.replace("//", "//limited:right@")).check()
        with pytest.raises(StoreUnavailable, match="refuses the login") as caught:
            connect(redis_server.url.replace("//", "//limited:wrong@")).check()
        assert "wrong@" not in caught.value.detail
    finally:
        admin.acl_deluser("limited")


def test_changes_are_polled_for_where_no_subscription_is_allowed(
    redis_server, admin, connect, store, caplog
):
    admin.acl_setuser("poller", enabled=True, passwords=["+pw"],
                      categories=["+@all"], commands=["-subscribe"], keys=["*"])  # fmt: skip
    try:
        polling = connect(redis_server.url.replace("//", "//poller:pw@"))
        seen = Seen()
        polling.watch(seen)
        job = made(store)
        seen.await_(job.job_id, Status.QUEUED)
        store.cancel(job.job_id)
        seen.await_(job.job_id, Status.CANCELLED)
        polling.close()
        assert "polled" in caplog.text
    finally:
        admin.acl_deluser("poller")


def test_a_server_that_may_forget_is_warned_of_once(store, configured, caplog):
    with caplog.at_level(logging.WARNING):
        store.check()
        assert caplog.text == ""
    configured("appendonly", "no")
    configured("maxmemory-policy", "allkeys-lru")
    store._told_of_durability = False
    store.check()
    store.check()
    assert caplog.text.count("set appendonly yes") == 1
    assert caplog.text.count("maxmemory-policy noeviction") == 1


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [("appendonly", "no", "set appendonly yes"),
     ("maxmemory-policy", "allkeys-lru", "maxmemory-policy noeviction")],
)  # fmt: skip
def test_a_server_that_may_forget_is_refused_in_production(
    redis_server, configured, admin, name, value, advice
):
    store = RedisStore(Settings(store_url=redis_server.url, environment="production"))
    before = admin.config_get(name)[name]
    configured(name, value)
    with pytest.raises(StoreUnavailable, match=advice):
        store.check()
    configured(name, before)
    store.check()
    store.close()


def test_a_server_that_does_not_say_how_it_is_set_up_is_used(
    redis_server, configured, admin, caplog
):
    admin.acl_setuser("managed", enabled=True, passwords=["+pw"],
                      categories=["+@all"], commands=["-info", "-config"], keys=["*"])  # fmt: skip
    configured("maxmemory-policy", "allkeys-lru")
    url = redis_server.url.replace("//", "//managed:pw@")
    store = RedisStore(Settings(store_url=url, environment="production"))
    try:
        with caplog.at_level(logging.INFO):
            store.check()
        assert caplog.text == ""
    finally:
        store.close()
        admin.acl_deluser("managed")


# records


def test_a_damaged_record_stops_neither_the_watch_nor_the_server(admin, store, caplog):
    seen = Seen()
    store.watch(seen)
    damaged, good = made(store), made(store)
    seen.await_(good.job_id, Status.QUEUED)
    admin.hset(f"aimq:job:{damaged.job_id}", "kind", "of another version")
    store.cancel(good.job_id)
    with pytest.raises(InternalError, match="damaged"):
        store.cancel(damaged.job_id)
    seen.await_(good.job_id, Status.CANCELLED)
    later = made(store)
    seen.await_(later.job_id, Status.QUEUED)
    assert damaged.job_id in caplog.text


def test_a_record_lives_no_longer_than_its_time_and_leaves_but_its_id_once_deleted(admin, store):
    job = made(store)
    left = admin.pttl(f"aimq:job:{job.job_id}")
    assert 0 < left <= 604_800_000
    store.delete(job.job_id)
    gone = f"aimq:gone:{job.job_id}".encode()
    assert set(admin.keys("*")) <= {b"aimq:tick", b"aimq:check", gone}
    assert 0 < admin.pttl(gone) <= left


def test_an_outcome_that_is_none_is_refused(store):
    with pytest.raises(InternalError, match="processing"):
        store.settle([Outcome(claim=claimed(store), status=Status.PROCESSING)])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_store_used_before_a_fork_works_after_it(store):
    job = made(store)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=store.cancel, args=(job.job_id,))
    child.start()
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert store.get(job.job_id).status is Status.CANCELLED
