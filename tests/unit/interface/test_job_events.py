import asyncio
import json
import threading

import msgspec
import pytest

from aimq.errors import NotFound, StoreUnavailable
from aimq.http.threads import ThreadPool
from aimq.jobs.job import Job, Status
from aimq.messages import Kind
from interface.event_stream import EventStream
from interface.job_events import JobEvents, Mailbox
from interface.metrics import Metrics


class WatchedStore:
    """What is used of a store, with its thread."""

    def __init__(self, *stored):
        self.stored = {job.job_id: job for job in stored}
        self.looked_up = 0

    def get(self, job_id):
        self.looked_up += 1
        if not self.stored:
            raise StoreUnavailable("away")
        return self.stored.get(job_id)

    def watch(self, listener):
        self.listener = listener
        return self.stop

    def stop(self):
        self.listener = None

    def change(self, *jobs):
        thread = threading.Thread(target=lambda: [self.listener(job) for job in jobs])
        thread.start()
        thread.join()


def job(status=Status.PROCESSING, done=0, job_id="a" * 32):
    return Job(job_id=job_id, kind=Kind.SPREADSHEET, status=status, rows_done=done)


def task(status=Status.PROCESSING, result=b""):
    return Job(job_id="a" * 32, kind=Kind.PREDICTION, status=status, result=result)


def rows(job):
    return job.rows_done


@pytest.fixture
def threads():
    threads = ThreadPool(1, "test")
    yield threads
    threads.close()


async def test_a_slow_reader_finds_the_latest_state_only():
    mailbox = Mailbox()
    for done in range(100):
        mailbox.put(job(done=done))

    assert rows(await mailbox.take()) == 99
    assert not mailbox._arrived.is_set()


async def test_nothing_replaces_a_final_state():
    mailbox = Mailbox()
    mailbox.put(job(Status.DONE, done=7))
    mailbox.put(job(done=3))

    assert (await mailbox.take()).final


async def test_a_closed_mailbox_lets_its_watcher_go():
    mailbox = Mailbox()
    waiting = asyncio.create_task(mailbox.take())
    await asyncio.sleep(0)
    mailbox.close()

    assert await waiting is None


async def test_one_change_reaches_every_watcher_of_its_job_and_no_other(threads):
    store, metrics = WatchedStore(), Metrics()
    events = JobEvents(store, threads, metrics)
    events.start()
    with (
        events.watch("a" * 32) as first,
        events.watch("a" * 32) as second,
        events.watch("b" * 32) as other,
    ):
        assert metrics.registry.get_sample_value("aimq_event_watchers") == 3
        store.change(job(done=1), job(done=2))
        seen = await asyncio.gather(first.take(), second.take())
        assert [rows(state) for state in seen] == [2, 2]
        assert seen[0] is seen[1]
        assert not other._arrived.is_set()

    assert not events._watchers
    assert metrics.registry.get_sample_value("aimq_event_watchers") == 0


async def test_changes_that_nobody_watches_are_not_kept(threads):
    store = WatchedStore()
    events = JobEvents(store, threads, Metrics())
    events.start()
    store.change(*(job(job_id=f"{n:032x}") for n in range(100)))

    assert not events._changed


async def test_the_end_lets_all_watchers_go_and_ends_the_watch(threads):
    store = WatchedStore()
    events = JobEvents(store, threads, Metrics())
    events.start()
    with events.watch("a" * 32) as mailbox:
        events.stop()
        assert await mailbox.take() is None
    assert store.listener is None


async def test_a_result_is_looked_up_once_however_many_watch(threads):
    store = WatchedStore(task(Status.DONE, b"7"))
    events = JobEvents(store, threads, Metrics())
    events.start()
    with events.watch("a" * 32) as first, events.watch("a" * 32) as second:
        store.change(task(Status.DONE))
        seen = await asyncio.gather(first.take(), second.take())

    assert [job.result for job in seen] == [b"7", b"7"]
    assert store.looked_up == 1


async def test_watchers_learn_of_the_end_also_when_the_result_cannot_be_looked_up(threads):
    store = WatchedStore()
    events = JobEvents(store, threads, Metrics())
    events.start()
    with events.watch("a" * 32) as mailbox:
        store.change(task(Status.DONE))
        assert (await mailbox.take()).status is Status.DONE


class Reader:
    """A WebSocket's end of the ASGI interface."""

    def __init__(self, vanishes=False):
        self.scope = {
            "type": "websocket", "path_params": {"job_id": "a" * 32}, "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        self.said = asyncio.Queue()
        self.said.put_nowait({"type": "websocket.connect"})
        self.vanishes = vanishes
        self.sent = []
        self.accepted = asyncio.Event()

    async def send(self, message):
        if self.vanishes and message["type"] == "websocket.send":
            raise OSError
        self.sent.append(message)
        if message["type"] == "websocket.send":
            self.accepted.set()

    def serve(self, app):
        return asyncio.create_task(app(self.scope, self.said.get, self.send))

    @property
    def texts(self):
        return [json.loads(message["text"]) for message in self.sent if "text" in message]


async def found(_):
    return task()


async def test_a_state_is_encoded_once_however_many_watch(threads):
    encoded = []

    def render(job):
        encoded.append(job.status)
        return msgspec.json.encode(str(job.status))

    store = WatchedStore(task(Status.DONE, b"7"))
    events = JobEvents(store, threads, Metrics())
    events.start()
    stream = EventStream(events, found, render)
    readers = [Reader() for _ in range(20)]
    served = [reader.serve(stream) for reader in readers]
    for reader in readers:
        await reader.accepted.wait()
    del encoded[:]  # each had its own look at the job when it came
    store.change(task(Status.DONE))
    await asyncio.gather(*served)

    assert encoded == [Status.DONE]
    assert all(reader.texts == ["processing", "done"] for reader in readers)
    assert all(reader.sent[-1]["type"] == "websocket.close" for reader in readers)
    assert not events._watchers


async def test_a_reader_that_vanishes_is_forgotten_without_a_word(threads):
    events = JobEvents(WatchedStore(), threads, Metrics())
    await Reader(vanishes=True).serve(EventStream(events, found, lambda _: b"0"))
    assert not events._watchers

    reader = Reader()
    served = reader.serve(EventStream(events, found, lambda _: b"0"))
    await reader.accepted.wait()
    reader.said.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await served
    assert not events._watchers


@pytest.mark.parametrize(
    ("error", "status"), [(NotFound("unknown"), 404), (StoreUnavailable("away"), 503)]
)
async def test_a_look_up_that_fails_refuses_the_socket(threads, error, status):
    async def find(_):
        raise error

    reader = Reader()
    events = JobEvents(WatchedStore(), threads, Metrics())
    await reader.serve(EventStream(events, find, lambda _: b"0"))

    assert reader.sent[0]["status"] == status
    assert not events._watchers
