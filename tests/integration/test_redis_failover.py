"""Redis behind a Sentinel, whose primary is killed while jobs are made."""

import threading
import time

import pytest
import redis

from aimq.errors import StoreUnavailable
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, Outcome
from aimq.messages import Kind
from aimq.settings import Settings
from tests.servers.plugin import private
from tests.servers.redis import RedisServer, SentinelServer

pytestmark = [pytest.mark.faults, pytest.mark.redis, pytest.mark.timeout(180)]
PATIENCE = 60.0


@pytest.fixture
def primary():
    with private(RedisServer) as server:
        yield server


@pytest.fixture
def replica(primary):
    with RedisServer(replica_of=primary) as server:
        with redis.Redis.from_url(primary.url) as client:
            until(lambda: client.wait(1, 100) == 1 and client.info()["connected_slaves"] == 1)
        yield server


@pytest.fixture
def sentinel(primary, replica):
    with SentinelServer(primary) as server, redis.Redis(port=server.port) as client:
        until(lambda: client.sentinel_master("mymaster")["num-slaves"] == 1)
        yield server


@pytest.fixture
def store(sentinel):
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster/0?wait=1"
    store = connect_store(Settings(store_url=url))
    yield store
    store.close()


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def made(store):
    (job,) = store.create([Job(kind=Kind.PREDICTION, input=b"{}")])
    return job


def works(call):
    """False while the store is away."""
    try:
        call()
    except StoreUnavailable:
        return False
    return True


def finish(store, job):
    """Return whether a job could be worked on and its outcome stored."""
    (claim,) = store.claim([job.job_id], "worker", 0.0)
    outcome = Outcome(claim=claim, status=Status.DONE, result=b"1")
    return isinstance(claim, Claim) and store.settle([outcome]) == [True]


class Load:
    """Makes and finishes jobs on threads; keeps what was answered."""

    def __init__(self, store, threads=4):
        self.made, self.done = [], []
        self._store = store
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        while not self._stop.is_set():
            try:
                job = made(self._store)
                self.made.append(job)
                if finish(self._store, job):
                    self.done.append(job)
            except StoreUnavailable:
                self._stop.wait(0.01)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def fail_over(sentinel, primary, replica):
    """Kill the primary; once the replica has taken its place, start it as the new one's replica."""
    primary.kill()
    with redis.Redis(port=sentinel.port) as client:
        until(lambda: client.sentinel_master("mymaster")["port"] == replica.port)
    primary.start()


def test_a_failover_under_load_loses_no_answered_job_and_no_outcome(
    primary, replica, sentinel, store
):
    load = Load(store)
    try:
        until(lambda: len(load.done) > 50)
        fail_over(sentinel, primary, replica)
        before = len(load.done)
        until(lambda: len(load.done) > before + 50)
    finally:
        load.stop()
    assert [job for job in load.made if store.get(job.job_id) is None] == []
    assert {store.get(job.job_id).status for job in load.done} == {Status.DONE}


def test_what_no_replica_has_is_not_answered(primary, replica, store):
    kept = made(store)
    replica.pause()
    try:
        with pytest.raises(StoreUnavailable, match="only 0 of 1 replicas"):
            made(store)
    finally:
        primary.kill()
        replica.resume()
    until(lambda: works(store.check))
    assert store.get(kept.job_id) == kept


def test_a_watch_goes_on_after_a_failover(primary, sentinel):
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster/0"
    store = connect_store(Settings(store_url=url))
    try:
        seen = {}
        store.watch(lambda job: seen.__setitem__(job.job_id, job))
        job = made(store)
        until(lambda: job.job_id in seen)
        primary.kill()
        until(lambda: works(lambda: store.cancel(job.job_id)))
        until(lambda: seen[job.job_id].status is Status.CANCELLED)
    finally:
        store.close()


def test_a_sentinel_that_is_not_there_is_said(sentinel):
    url = "redis+sentinel://:secret@127.0.0.1:1/mymaster/0"
    store = connect_store(Settings(store_url=url))
    with pytest.raises(StoreUnavailable, match=r"mymaster \(127\.0\.0\.1:1\) cannot") as caught:
        store.check()
    assert "secret" not in caught.value.detail
    store.close()
