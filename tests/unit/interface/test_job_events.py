import asyncio
import json
import threading

from aimq.jobs.job import Job, Status
from aimq.messages import Kind
from interface.events import JobEvents, Mailbox, State
from interface.metrics import Metrics


class WatchedStore:
    """The one method of a store that is used, with its thread."""

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


def rows(state):
    return json.loads(state.text)["rows_done"]


async def test_a_slow_reader_finds_the_latest_state_only():
    mailbox = Mailbox()
    for done in range(100):
        mailbox.put(State(job(done=done)))

    assert rows(await mailbox.take()) == 99
    assert not mailbox._arrived.is_set()


async def test_nothing_replaces_a_final_state():
    mailbox = Mailbox()
    mailbox.put(State(job(Status.DONE, done=7)))
    mailbox.put(State(job(done=3)))

    assert (await mailbox.take()).final


async def test_a_closed_mailbox_lets_its_watcher_go():
    mailbox = Mailbox()
    waiting = asyncio.create_task(mailbox.take())
    await asyncio.sleep(0)
    mailbox.close()

    assert await waiting is None


async def test_one_change_reaches_every_watcher_of_its_job_and_no_other():
    store, metrics = WatchedStore(), Metrics()
    events = JobEvents(store, metrics)
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


async def test_changes_that_nobody_watches_are_not_kept():
    store = WatchedStore()
    events = JobEvents(store, Metrics())
    events.start()
    store.change(*(job(job_id=f"{n:032x}") for n in range(100)))

    assert not events._changed


async def test_the_end_lets_all_watchers_go_and_ends_the_watch():
    store = WatchedStore()
    events = JobEvents(store, Metrics())
    events.start()
    with events.watch("a" * 32) as mailbox:
        events.stop()
        assert await mailbox.take() is None
    assert store.listener is None
