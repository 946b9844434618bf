"""Which files are in work at the same time."""

import threading
import zipfile
from contextlib import ExitStack, contextmanager

import pytest

from aimq.broker.port import Delivery
from aimq.jobs.job import Job
from aimq.jobs.port import Claim
from aimq.messages import Kind, Message
from aimq.settings import load_settings
from batch_processor.disposition import Stopped
from batch_processor.memory_budget import MemoryBudget, available_memory
from batch_processor.spreadsheets import MEMORY_FACTOR, SpreadsheetHandler
from batch_processor.work import Work

PATIENCE = 10.0
KB = 1024


def refuse():
    raise Stopped


class Holder:
    """A thread that holds a part of the budget until it is told to release it."""

    def __init__(self, budget, size):
        self.entered, self.release = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._hold, args=(budget, size), daemon=True)
        self.thread.start()

    def _hold(self, budget, size):
        with budget.reserve(size, bool):
            self.entered.set()
            self.release.wait(PATIENCE)


def waiting(budget, count):
    while len(budget._waiting) < count:
        threading.Event().wait(0.001)


def test_large_files_wait_for_each_other_in_their_order_and_small_ones_pass():
    budget = MemoryBudget(100, threads=5)
    first = Holder(budget, 50)
    assert first.entered.wait(PATIENCE)
    second = Holder(budget, 50)
    waiting(budget, 1)
    third = Holder(budget, 6)  # would fit, were it not for the second
    waiting(budget, 2)
    with budget.reserve(5, refuse):  # small: passes at once
        assert not second.entered.is_set()
        assert not third.entered.is_set()
    first.release.set()
    assert second.entered.wait(PATIENCE)
    assert third.entered.wait(PATIENCE)
    second.release.set()
    third.release.set()


def test_a_file_larger_than_the_budget_has_it_alone():
    budget = MemoryBudget(100, threads=2)
    huge = Holder(budget, 10**9)
    assert huge.entered.wait(PATIENCE)
    other = Holder(budget, 20)
    waiting(budget, 1)
    assert not other.entered.is_set()
    huge.release.set()
    assert other.entered.wait(PATIENCE)
    other.release.set()


def test_one_that_waits_can_be_cancelled_and_the_next_goes_on():
    budget = MemoryBudget(100, threads=2)
    holder = Holder(budget, 75)
    assert holder.entered.wait(PATIENCE)
    with pytest.raises(Stopped), budget.reserve(75, refuse):
        pytest.fail("it had to wait")
    holder.release.set()
    with budget.reserve(75, bool):
        pass


def test_memory_is_given_back_when_the_work_fails():
    budget = MemoryBudget(100, threads=2)
    for _ in range(3):
        with pytest.raises(KeyError), budget.reserve(75, refuse):
            raise KeyError


def test_the_available_memory_is_that_of_the_container_or_the_machine():
    assert 64 * KB * KB < available_memory() < 2**50


class Reader:
    """Reads nothing; notes which files are read at the same time."""

    def __init__(self, expected):
        self.most, self._now, self._lock = 0, 0, threading.Lock()
        self._together = threading.Barrier(expected)

    def read(self, _path, _max_rows):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            self._together.wait(PATIENCE)
        finally:
            with self._lock:
                self._now -= 1
        raise Stopped


@pytest.mark.parametrize(("size", "together"), [(800 * KB, 1), (10 * KB, 2)])
def test_uploads_are_scored_side_by_side_as_far_as_memory_goes(tmp_path, size, together):
    path = tmp_path / "upload.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b" " * size)

    class Files:
        @contextmanager
        def local_copy(self, _key):
            yield path

    class Client:
        def models(self):
            return ()

    reader = Reader(together)
    budget = MemoryBudget(MEMORY_FACTOR * 1000 * KB, threads=2)
    handler = SpreadsheetHandler(Files(), Client(), reader, budget, load_settings())
    job = Job(kind=Kind.SPREADSHEET)
    delivery = Delivery(queue="q", body=b"", message_id=job.job_id)
    message = Message(job_id=job.job_id, kind=job.kind)
    work = Work(delivery, message, Claim(job=job, token="t"), store=None)

    def score():
        with pytest.raises(Stopped):
            handler(work)

    with ExitStack() as stack:
        for _ in range(2):
            thread = threading.Thread(target=score)
            stack.callback(thread.join)
            thread.start()
    assert reader.most == together
