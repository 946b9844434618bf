"""What every adapter of the JobStore port must do.

Not collected by itself. An adapter derives a test class and gives the ``environment`` fixture: the
AIMQ_ variables of an empty store that no other test uses. Processes of their own find the store
by them, too.
"""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from logging.handlers import QueueHandler
from queue import SimpleQueue

import pytest

from aimq.errors import StoreUnavailable
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job, Status, new_job_id
from aimq.jobs.port import Claim, JobStore, Outcome, Refusal, Refused
from aimq.messages import Kind
from aimq.settings import Settings, load_settings

#: Longest wait for something that is sure to come, in seconds.
PATIENCE = 20.0
#: A lease that no test outlives, and one that has run out at once, in seconds.
LONG, NONE = 600.0, 0.0

MALFORMED = [
    "", "x" * 10_240, "a:b:c", "../../etc/passwd", "a/b", "日本語 🚗", "a\x00b", "*", "\n",
    "\ud800",
]  # fmt: skip

CLAIMER = """
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
from aimq.jobs.connect import connect_store
from aimq.jobs.port import Claim
from aimq.settings import load_settings

store, ids = connect_store(load_settings()), json.loads(sys.stdin.readline())
store.check()
print("ready", flush=True)
sys.stdin.readline()

def claim(number):
    mine = ids[number * 25:] + ids[:number * 25]
    bulks = [mine[at:at + 7] for at in range(0, len(mine), 7)]
    answers = [answer for bulk in bulks for answer in store.claim(bulk, f"thread {number}", 600)]
    return [answer.job.job_id for answer in answers if isinstance(answer, Claim)]

with ThreadPoolExecutor(8) as threads:
    print(json.dumps([id for ids in threads.map(claim, range(8)) for id in ids]), flush=True)
store.close()
"""

CHANGER = """
import sys
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Status
from aimq.jobs.port import Outcome
from aimq.settings import load_settings

store, ids = connect_store(load_settings()), sys.argv[1:]
claims = store.claim(ids, "changer", 600)
for done in range(1, 51):
    for claim in claims:
        assert store.progress(claim, rows_total=50, rows_done=done, rows_failed=0)
assert all(store.settle([Outcome(claim=claim, status=Status.DONE) for claim in claims]))
store.close()
"""

CREATOR = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job
from aimq.messages import Kind
from aimq.settings import load_settings

store = connect_store(load_settings())
store.check()
print("ready", flush=True)
sys.stdin.readline()

def create(number):
    return store.create([Job(kind=Kind.PREDICTION)], ["same key"])[0].job_id

with ThreadPoolExecutor(4) as threads:
    print(*threads.map(create, range(4)), flush=True)
store.close()
"""


def connect(environment: Mapping[str, str]) -> JobStore:
    return connect_store(_settings(environment))


def _settings(environment: Mapping[str, str]) -> Settings:
    values = {name.removeprefix("AIMQ_").lower(): value for name, value in environment.items()}
    return load_settings(environ=environment, **values)


def spreadsheet(**values: object) -> Job:
    return Job(kind=Kind.SPREADSHEET, filename="cars.xlsx", **values)  # type: ignore[arg-type]


def aged(seconds: float, **values: object) -> Job:
    return spreadsheet(created_at=datetime.now(UTC) - timedelta(seconds=seconds), **values)


class Seen:
    """A listener that keeps the last state of every job and lets one wait for a state."""

    def __init__(self) -> None:
        self.last: dict[str, Job] = {}
        self.calls = 0
        self._changed = threading.Condition()

    def __call__(self, job: Job) -> None:
        with self._changed:
            self.last[job.job_id] = job
            self.calls += 1
            self._changed.notify_all()

    def await_(self, condition: Callable[[dict[str, Job]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.last), PATIENCE), self.last


class JobStoreContract:
    @pytest.fixture
    def environment(self) -> dict[str, str]:
        raise NotImplementedError

    @pytest.fixture
    def store(self, environment: dict[str, str]) -> Iterator[JobStore]:
        store = connect(environment)
        yield store
        store.close()

    @pytest.fixture
    def other(self, environment: dict[str, str]) -> Iterator[JobStore]:
        """The same store as another process would have it."""
        store = connect(environment)
        yield store
        store.close()

    @pytest.fixture
    def short_lived(self, environment: dict[str, str]) -> Iterator[JobStore]:
        """The same store, but jobs made through it live for a minute."""
        store = connect({**environment, "AIMQ_RESULT_TTL_SECONDS": "60"})
        yield store
        store.close()

    @pytest.fixture
    def logged(self) -> Iterator[SimpleQueue[logging.LogRecord]]:
        """What any thread logs, as it comes: listeners may be called on threads of their own."""
        records: SimpleQueue[logging.LogRecord] = SimpleQueue()
        handler = QueueHandler(records)
        logging.getLogger("aimq").addHandler(handler)
        yield records
        logging.getLogger("aimq").removeHandler(handler)

    def claimed(self, store: JobStore, lease: float = LONG, **values: object) -> Claim:
        (job,) = store.create([spreadsheet(**values)])
        return self.claim(store, job.job_id, lease)

    def claim(self, store: JobStore, job_id: str, lease: float = LONG) -> Claim:
        (claim,) = store.claim([job_id], "worker", lease)
        assert isinstance(claim, Claim)
        return claim

    def settle(self, store: JobStore, claim: Claim, status: Status, **values: object) -> bool:
        (answer,) = store.settle([Outcome(claim=claim, status=status, **values)])  # type: ignore[arg-type]
        return answer

    # create, get

    def test_a_job_is_read_as_it_was_created(self, store, other):
        job = Job(
            kind=Kind.PREDICTION,
            filename="Autos, große 🚗.xlsx",
            input=b'{"model": "\xff\x00"}',
            traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
            callback_url="http://127.0.0.1/done?a=b&c=%20",
        )
        assert store.create([job]) == [job]
        assert other.get(job.job_id) == job

    def test_every_attribute_survives(self, store):
        moment = datetime.now(UTC)
        job = Job(
            kind=Kind.FACTORIAL,
            filename="f",
            model="houses",
            interval=90,
            status=Status.RETRYING,
            rows_total=0,
            rows_done=3,
            rows_failed=2,
            attempts=4,
            error="ML service away",
            model_versions={"A": "20260101T000000Z"},
            created_at=moment - timedelta(microseconds=1),
            started_at=moment,
            finished_at=moment + timedelta(microseconds=1),
            input=b"5",
            result=b"120",
            result_key="results/1/2.txt",
            published=True,
            traceparent="t",
            callback_url="c",
        )
        store.create([job])
        assert store.get(job.job_id) == job

    def test_bulk_creation_answers_in_order(self, store):
        jobs = [spreadsheet() for _ in range(1_200)]
        assert store.create(jobs) == jobs
        assert [store.get(job.job_id) for job in (jobs[0], jobs[600], jobs[-1])] == [
            jobs[0], jobs[600], jobs[-1],
        ]  # fmt: skip
        assert store.create([]) == []

    def test_a_key_used_before_gives_the_job_made_then(self, store, other):
        first, second = spreadsheet(), spreadsheet()
        store.create([first], ["a key"])
        self.settle(store, self.claim(store, first.job_id), Status.DONE)
        (found,) = other.create([second], ["a key"])
        assert (found.job_id, found.status) == (first.job_id, Status.DONE)
        assert store.get(second.job_id) is None

    def test_keys_belong_to_their_jobs_within_one_call(self, store):
        jobs = [spreadsheet() for _ in range(5)]
        made = store.create(jobs, ["k", "", "k", "other", ""])
        assert [job.job_id for job in made] == [jobs[at].job_id for at in (0, 1, 0, 3, 4)]
        assert store.get(jobs[2].job_id) is None

    def test_a_key_may_be_anything(self, store):
        for key in ("x" * 10_240, "a:b", "日本語 🚗", "a\x00b", "'; --"):
            job = spreadsheet()
            store.create([job], [key])
            assert store.create([spreadsheet()], [key])[0].job_id == job.job_id

    def test_the_key_of_a_deleted_job_makes_a_new_one(self, store):
        first, second = spreadsheet(), spreadsheet()
        store.create([first], ["key"])
        store.delete(first.job_id)
        assert store.create([second], ["key"]) == [second]
        assert store.get(second.job_id) == second

    def test_many_jobs_are_forgotten_at_once_and_no_other(self, store):
        jobs = [spreadsheet() for _ in range(30)]
        store.create(jobs, [str(n) for n in range(30)])
        store.delete_all([job.job_id for job in jobs[:20]] + ["0" * 32, "\ud800", ""])
        assert {job.job_id for job in store.recent()} == {job.job_id for job in jobs[20:]}
        assert [store.get(job.job_id) for job in jobs[:20]] == [None] * 20
        assert {job.job_id for job in store.take_unpublished(0.0, LONG)} == {
            job.job_id for job in jobs[20:]
        }
        (again,) = store.create([spreadsheet()], ["3"])
        assert again.job_id != jobs[3].job_id

    def test_of_racing_creations_with_one_key_one_is_stored(self, environment, store):
        racers = [start(CREATOR, environment) for _ in range(2)]
        ids = {id_ for answer in race(racers) for id_ in answer.split()}
        assert len(ids) == 1
        assert [job.job_id for job in store.recent()] == list(ids)

    # ids that are none

    @pytest.mark.parametrize("job_id", MALFORMED, ids=lambda job_id: ascii(job_id)[:20])
    def test_a_malformed_id_is_unknown(self, store, job_id):
        assert store.get(job_id) is None
        assert store.claim([job_id], "worker", LONG) == [
            Refused(job_id=job_id, reason=Refusal.UNKNOWN)
        ]
        store.mark_published([job_id])
        assert store.fail(job_id, "error") is None
        assert store.cancel(job_id) is None
        assert store.requeue(job_id) is None
        assert store.delete(job_id) is False
        assert store.recent() == []

    def test_an_unknown_id_is_unknown(self, store):
        self.test_a_malformed_id_is_unknown(store, new_job_id())

    # recent

    def test_recent_jobs_come_newest_first_without_input_and_result(self, store):
        jobs = [aged(10 - n, input=b"in", result=b"out", rows_done=n) for n in range(5)]
        store.create(random.Random(1).sample(jobs, 5))
        found = store.recent(limit=3)
        assert [job.rows_done for job in found] == [4, 3, 2]
        assert {(job.input, job.result) for job in found} == {(b"", b"")}
        assert len(store.recent()) == 5
        assert store.recent(limit=0) == []

    def test_recent_jobs_of_one_status(self, store):
        jobs = [aged(100 - n) for n in range(60)]
        store.create(jobs)
        for job in jobs[:3]:
            store.cancel(job.job_id)
        self.settle(store, self.claim(store, jobs[5].job_id), Status.RETRYING, error="later")
        found = store.recent(status=Status.CANCELLED)
        assert [job.job_id for job in found] == [job.job_id for job in reversed(jobs[:3])]
        assert [job.job_id for job in store.recent(1, Status.QUEUED)] == [jobs[-1].job_id]
        assert [job.job_id for job in store.recent(status=Status.RETRYING)] == [jobs[5].job_id]
        assert store.recent(status=Status.DONE) == []

    # unpublished

    def test_jobs_never_confirmed_are_taken_once_in_a_lease(self, store, other):
        old, young = aged(30), spreadsheet()
        store.create([old, young])
        assert store.take_unpublished(older_than=20, lease=LONG) == [old]
        assert other.take_unpublished(older_than=20, lease=LONG) == []
        assert other.take_unpublished(older_than=0, lease=LONG) == [young]

    def test_a_sweep_that_died_is_followed_by_another(self, store, other):
        old = aged(30)
        store.create([old])
        assert store.take_unpublished(older_than=20, lease=NONE) == [old]
        assert other.take_unpublished(older_than=20, lease=LONG) == [old]

    def test_confirmed_jobs_are_not_taken(self, store, other):
        jobs = [aged(30) for _ in range(4)]
        store.create([*jobs, aged(30, published=True)])
        store.take_unpublished(older_than=20, lease=NONE, limit=2)
        store.mark_published([job.job_id for job in jobs])
        assert other.take_unpublished(older_than=0, lease=LONG) == []
        found = store.get(jobs[0].job_id)
        assert found is not None
        assert found.published

    def test_only_queued_jobs_are_taken(self, store):
        jobs = [aged(30) for _ in range(3)]
        store.create(jobs)
        store.cancel(jobs[0].job_id)
        self.claim(store, jobs[1].job_id)
        assert store.take_unpublished(older_than=20, lease=LONG) == [jobs[2]]

    def test_taking_unpublished_jobs_keeps_to_the_limit(self, store):
        store.create([aged(30) for _ in range(5)])
        sizes = [len(store.take_unpublished(20, LONG, limit=2)) for _ in range(4)]
        assert sizes == [2, 2, 1, 0]

    # claim

    def test_a_claim_begins_an_attempt(self, store, other):
        (job,) = store.create([spreadsheet(input=b"work", rows_total=7)])
        claim = self.claim(store, job.job_id)
        assert claim.crashes == 0
        assert claim.job == other.get(job.job_id)
        assert (claim.job.status, claim.job.attempts) == (Status.PROCESSING, 1)
        assert claim.job.started_at is not None
        assert (claim.job.input, claim.job.rows_total) == (b"work", 7)

    def test_claims_answer_in_order_with_the_reason_of_a_refusal(self, store, other):
        free, held, done, cancelled = store.create([spreadsheet() for _ in range(4)])
        self.claim(store, held.job_id, lease=60)
        self.settle(store, self.claim(store, done.job_id), Status.DONE)
        store.cancel(cancelled.job_id)
        ids = [done.job_id, "unknown", free.job_id, held.job_id, cancelled.job_id, free.job_id]
        answers = other.claim(ids, "worker", LONG)
        assert isinstance(answers[2], Claim)
        reasons = [getattr(answer, "reason", None) for answer in answers]
        assert reasons == [
            Refusal.FINAL, Refusal.UNKNOWN, None, Refusal.HELD, Refusal.FINAL, Refusal.HELD,
        ]  # fmt: skip
        assert isinstance(answers[3], Refused)
        assert answers[3].job_id == held.job_id
        assert 0 < answers[3].retry_in <= 60
        assert isinstance(answers[0], Refused)
        assert answers[0].retry_in == 0

    def test_of_many_threads_and_processes_each_job_is_claimed_by_one(self, environment, store):
        ids = [job.job_id for job in store.create([spreadsheet() for _ in range(200)])]
        racers = [start(CLAIMER, environment, json.dumps(ids)) for _ in range(2)]
        claimed = Counter(id_ for answer in race(racers) for id_ in json.loads(answer))
        assert claimed == Counter(ids)

    def test_a_claim_whose_lease_ran_out_is_given_anew_and_counted_as_a_crash(self, store, other):
        first = self.claimed(store, lease=NONE)
        job_id = first.job.job_id
        second = self.claim(other, job_id, lease=NONE)
        third = self.claim(store, job_id)
        assert [first.crashes, second.crashes, third.crashes] == [0, 1, 2]
        assert third.job.attempts == 3
        assert len({first.token, second.token, third.token}) == 3

    def test_a_void_claim_changes_nothing(self, store, other):
        stale = self.claimed(store, lease=NONE)
        self.claim(other, stale.job.job_id)
        before = store.get(stale.job.job_id)
        assert store.renew([stale], LONG) == [False]
        assert store.progress(stale, rows_total=9, rows_done=9, rows_failed=9) is False
        assert self.settle(store, stale, Status.DONE, result=b"wrong") is False
        assert store.get(stale.job.job_id) == before

    def test_a_claim_is_good_past_its_lease_until_another_is_given(self, store):
        claim = self.claimed(store, lease=NONE)
        assert store.renew([claim], LONG) == [True]
        (refused,) = store.claim([claim.job.job_id], "other", LONG)
        assert isinstance(refused, Refused)
        assert refused.reason is Refusal.HELD

    def test_renewals_answer_in_order(self, store):
        good, stale = self.claimed(store, lease=NONE), self.claimed(store, lease=NONE)
        self.claim(store, stale.job.job_id)
        gone = self.claimed(store)
        store.delete(gone.job.job_id)
        assert store.renew([stale, good, gone], LONG) == [False, True, False]
        assert store.renew([], LONG) == []

    # progress

    def test_progress_is_stored(self, store, other):
        claim = self.claimed(store)
        assert store.progress(claim, rows_total=10, rows_done=4, rows_failed=1)
        job = other.get(claim.job.job_id)
        assert (job.rows_total, job.rows_done, job.rows_failed) == (10, 4, 1)
        assert job.status is Status.PROCESSING

    # settle

    def test_a_done_job_has_all_of_its_outcome(self, store, other):
        claim = self.claimed(store)
        assert self.settle(
            store,
            claim,
            Status.DONE,
            result=b"\x00result",
            model_versions={"A": "1", "B": "2"},
            counts={"rows_total": 5, "rows_done": 5, "rows_failed": 1},
        )
        job = other.get(claim.job.job_id)
        assert (job.status, job.error, job.result) == (Status.DONE, None, b"\x00result")
        assert job.model_versions == {"A": "1", "B": "2"}
        assert (job.rows_total, job.rows_done, job.rows_failed) == (5, 5, 1)
        assert job.started_at <= job.finished_at

    def test_the_result_is_the_file_of_the_claim_that_counts(self, store, other):
        stale = self.claimed(store, lease=NONE)
        claim = self.claim(other, stale.job.job_id)
        assert claim.job.result_key == ""
        assert self.settle(other, claim, Status.DONE, result_key="results/a/second.xlsx")
        assert not self.settle(store, stale, Status.DONE, result_key="results/a/first.xlsx")
        assert store.get(claim.job.job_id).result_key == "results/a/second.xlsx"
        assert [job.result_key for job in store.recent()] == ["results/a/second.xlsx"]

    def test_a_model_chosen_during_the_work_is_stored_and_one_named_before_stays(
        self, store, other
    ):
        chosen, named = self.claimed(store), self.claimed(store, model="houses", interval=90)
        assert self.settle(store, chosen, Status.DONE, model="wine")
        assert self.settle(store, named, Status.DONE)
        found = [other.get(claim.job.job_id) for claim in (chosen, named)]
        assert [(job.model, job.interval) for job in found] == [("wine", 0), ("houses", 90)]
        assert {job.model for job in other.recent()} == {"wine", "houses"}

    def test_a_failed_job_has_its_error(self, store):
        claim = self.claimed(store)
        self.settle(store, claim, Status.FAILED, error="Not a workbook: send .xlsx.")
        job = store.get(claim.job.job_id)
        assert (job.status, job.error) == (Status.FAILED, "Not a workbook: send .xlsx.")
        assert job.finished_at is not None

    @pytest.mark.parametrize("status", [Status.RETRYING, Status.QUEUED])
    def test_a_job_that_goes_on_later_is_free_at_once(self, store, other, status):
        claim = self.claimed(store)
        error = "ML service away" if status is Status.RETRYING else None
        assert self.settle(store, claim, status, error=error, counts={"rows_total": 5})
        job = store.get(claim.job.job_id)
        assert (job.status, job.error, job.rows_total) == (status, error, 5)
        assert job.finished_at is None
        again = self.claim(other, claim.job.job_id)
        assert (again.crashes, again.job.attempts, again.job.error) == (0, 2, None)

    def test_outcomes_answer_in_order_and_counts_not_named_stay(self, store):
        good, stale = self.claimed(store), self.claimed(store, lease=NONE)
        store.progress(good, rows_total=8, rows_done=3, rows_failed=2)
        self.claim(store, stale.job.job_id)
        outcomes = [
            Outcome(claim=stale, status=Status.DONE),
            Outcome(claim=good, status=Status.DONE, counts={"rows_done": 8}),
            Outcome(claim=good, status=Status.FAILED, error="twice"),
        ]
        assert store.settle(outcomes) == [False, True, False]
        job = store.get(good.job.job_id)
        assert (job.status, job.error) == (Status.DONE, None)
        assert (job.rows_total, job.rows_done, job.rows_failed) == (8, 8, 2)
        assert store.settle([]) == []

    def test_a_settled_claim_is_void(self, store):
        claim = self.claimed(store)
        self.settle(store, claim, Status.QUEUED)
        assert self.settle(store, claim, Status.DONE) is False
        assert store.renew([claim], LONG) == [False]
        assert store.progress(claim, rows_total=1, rows_done=1, rows_failed=0) is False

    def test_settled_claims_count_no_crash_but_earlier_crashes_stay(self, store):
        claim = self.claimed(store, lease=NONE)
        job_id = claim.job.job_id
        self.settle(store, self.claim(store, job_id), Status.RETRYING, error="later")
        self.settle(store, self.claim(store, job_id), Status.QUEUED)
        assert self.claim(store, job_id).crashes == 1

    # fail, cancel, requeue, delete

    @pytest.mark.parametrize("ending", ["fail", "cancel"])
    def test_a_job_ended_from_outside_voids_its_claim(self, store, other, ending):
        claim = self.claimed(store)
        job_id = claim.job.job_id
        job = other.fail(job_id, "boom") if ending == "fail" else other.cancel(job_id)
        assert job == store.get(job_id)
        assert job.status is (Status.FAILED if ending == "fail" else Status.CANCELLED)
        assert job.error == "boom" if ending == "fail" else job.error
        assert job.finished_at is not None
        assert store.renew([claim], LONG) == [False]
        assert store.progress(claim, rows_total=1, rows_done=1, rows_failed=0) is False
        assert self.settle(store, claim, Status.DONE) is False
        (refused,) = store.claim([job_id], "worker", LONG)
        assert isinstance(refused, Refused)
        assert refused.reason is Refusal.FINAL
        assert store.get(job_id) == job

    def test_a_final_job_stays_as_it_is(self, store):
        claim = self.claimed(store)
        self.settle(store, claim, Status.DONE, result=b"1")
        job = store.get(claim.job.job_id)
        assert store.fail(job.job_id, "too late") == job
        assert store.cancel(job.job_id) == job
        assert store.requeue(job.job_id) == job
        assert store.get(job.job_id) == job

    def test_a_replayed_job_starts_afresh(self, store, other):
        claim = self.claimed(store, lease=NONE, rows_total=7)
        job_id = claim.job.job_id
        self.settle(store, self.claim(store, job_id), Status.FAILED, error="five times")
        job = other.requeue(job_id)
        assert job == store.get(job_id)
        assert (job.status, job.attempts, job.error, job.finished_at) == (
            Status.QUEUED, 0, None, None,
        )  # fmt: skip
        assert job.published
        assert store.take_unpublished(0, LONG) == []
        again = self.claim(store, job_id)
        assert (again.crashes, again.job.attempts) == (0, 1)

    @pytest.mark.parametrize("status", [Status.QUEUED, Status.RETRYING])
    def test_a_job_that_did_not_fail_is_not_replayed(self, store, status):
        claim = self.claimed(store)
        self.settle(store, claim, status)
        before = store.get(claim.job.job_id)
        assert store.requeue(claim.job.job_id) == before
        assert store.get(claim.job.job_id) == before

    def test_a_deleted_job_is_forgotten_everywhere(self, store, other):
        claim = self.claimed(store, lease=LONG)
        job_id = claim.job.job_id
        assert other.delete(job_id) is True
        assert store.get(job_id) is None
        assert store.recent() == []
        assert self.settle(store, claim, Status.DONE) is False
        assert store.get(job_id) is None
        assert store.delete(job_id) is False

    @pytest.mark.parametrize("status", [Status.QUEUED, Status.RETRYING, Status.DONE])
    def test_the_message_of_a_deleted_job_has_nothing_left_to_do(self, store, other, status):
        job, kept = spreadsheet(status=status), spreadsheet()
        store.create([job, kept])
        store.delete(job.job_id)
        deleted, unknown, free = other.claim([job.job_id, new_job_id(), kept.job_id], "w", LONG)
        assert deleted == Refused(job_id=job.job_id, reason=Refusal.FINAL)
        assert isinstance(unknown, Refused)
        assert unknown.reason is Refusal.UNKNOWN
        assert isinstance(free, Claim)

    def test_a_job_that_expired_before_it_was_deleted_is_not_remembered(self, short_lived):
        (job,) = short_lived.create([aged(61)])
        short_lived.delete(job.job_id)
        (refused,) = short_lived.claim([job.job_id], "worker", LONG)
        assert refused == Refused(job_id=job.job_id, reason=Refusal.UNKNOWN)

    # expiry

    def test_an_expired_job_is_gone_and_its_files_are_to_be_deleted(self, store, short_lived):
        old, young = aged(61), aged(1)
        short_lived.create([old, young], ["old key", ""])
        assert short_lived.get(old.job_id) is None
        assert short_lived.get(young.job_id) == young
        assert [job.job_id for job in short_lived.recent()] == [young.job_id]
        (refused,) = short_lived.claim([old.job_id], "worker", LONG)
        assert isinstance(refused, Refused)
        assert refused.reason is Refusal.UNKNOWN
        assert short_lived.cancel(old.job_id) is None
        assert short_lived.requeue(old.job_id) is None
        assert short_lived.take_unpublished(0, LONG) == [young]
        assert short_lived.take_expired(lease=LONG) == [old.job_id]

    def test_expired_jobs_are_taken_once_in_a_lease_until_deleted(self, short_lived):
        old = aged(61)
        short_lived.create([old])
        assert short_lived.take_expired(lease=NONE) == [old.job_id]
        assert short_lived.take_expired(lease=LONG) == [old.job_id]
        assert short_lived.take_expired(lease=LONG) == []
        short_lived.delete(old.job_id)
        assert short_lived.take_expired(lease=NONE) == []

    def test_taking_expired_jobs_keeps_to_the_limit(self, short_lived):
        short_lived.create([aged(70 + n) for n in range(5)])
        sizes = [len(short_lived.take_expired(LONG, limit=2)) for _ in range(4)]
        assert sizes == [2, 2, 1, 0]

    def test_the_key_of_an_expired_job_makes_a_new_one(self, short_lived):
        old, new = aged(61), spreadsheet()
        short_lived.create([old], ["key"])
        assert short_lived.create([new], ["key"]) == [new]

    # watch

    def test_a_watch_tells_of_every_change_without_input_and_result(self, store, other):
        seen = Seen()
        store.watch(seen)
        (job,) = other.create([spreadsheet(input=b"in")])
        seen.await_(lambda last: job.job_id in last)
        claim = self.claim(other, job.job_id)
        seen.await_(lambda last: last[job.job_id].status is Status.PROCESSING)
        other.progress(claim, rows_total=9, rows_done=2, rows_failed=1)
        seen.await_(lambda last: last[job.job_id].rows_done == 2)
        self.settle(other, claim, Status.FAILED, error="boom", result=b"out")
        seen.await_(lambda last: last[job.job_id].error == "boom")
        assert (seen.last[job.job_id].input, seen.last[job.job_id].result) == (b"", b"")
        other.requeue(job.job_id)
        seen.await_(lambda last: last[job.job_id].status is Status.QUEUED)
        other.cancel(job.job_id)
        seen.await_(lambda last: last[job.job_id].status is Status.CANCELLED)

    def test_the_last_state_always_comes_across_processes(self, environment, store):
        seen = Seen()
        store.watch(seen)
        ids = [job.job_id for job in store.create([spreadsheet() for _ in range(20)])]
        run = subprocess.run(
            [sys.executable, "-c", CHANGER, *ids],
            env={**os.environ, **environment},
            timeout=60,
            check=False,
        )
        assert run.returncode == 0
        seen.await_(
            lambda last: {id_ for id_ in ids if last[id_].status is Status.DONE} == set(ids)
        )
        assert {job.rows_done for job in seen.last.values()} == {50}

    def test_a_watch_ended_is_told_no_more_and_the_others_are(self, store):
        ended, going_on = Seen(), Seen()
        end = store.watch(ended)
        store.watch(going_on)
        end()
        end()
        (job,) = store.create([spreadsheet()])
        going_on.await_(lambda last: job.job_id in last)
        assert ended.calls == 0

    def test_a_listener_that_raises_does_not_end_the_watch(self, store, logged):
        def broken(job: Job) -> None:
            raise RuntimeError("listener at fault")

        seen = Seen()
        store.watch(broken)
        store.watch(seen)
        first, second = spreadsheet(), spreadsheet()
        store.create([first])
        seen.await_(lambda last: first.job_id in last)
        store.create([second])
        seen.await_(lambda last: second.job_id in last)
        assert "listener" in logged.get(timeout=PATIENCE).getMessage()

    # the store itself

    def test_a_store_that_can_be_written_passes_the_check(self, store):
        store.check()

    def test_closing_twice_is_closing(self, environment):
        store = connect(environment)
        store.watch(Seen())
        store.create([spreadsheet()])
        store.close()
        store.close()

    def test_many_threads_may_use_one_store(self, store):
        def work(number: int) -> list[bool]:
            jobs = store.create([spreadsheet(rows_done=number) for _ in range(10)])
            claims = store.claim([job.job_id for job in jobs], f"{number}", LONG)
            outcomes = [Outcome(claim=claim, status=Status.DONE) for claim in claims]
            answers = store.settle(outcomes)
            return [*answers, all(store.get(job.job_id).final for job in jobs)]

        with ThreadPoolExecutor(12) as threads:
            answers = [answer for answers in threads.map(work, range(24)) for answer in answers]
        assert answers == [True] * (24 * 11)
        assert len(store.recent(limit=1_000, status=Status.DONE)) == 240


def start(program: str, environment: Mapping[str, str], first_line: str = "") -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if first_line:
        process.stdin.write(first_line + "\n")
        process.stdin.flush()
    return process


def race(racers: list[subprocess.Popen]) -> list[str]:
    """Let all go at once when all are ready; returns what each said."""
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.communicate(timeout=60)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * len(racers)
    return answers


def assert_unavailable(call: Callable[[], object]) -> str:
    """Assert that a call fails for want of the store, in one line; returns it."""
    with pytest.raises(StoreUnavailable) as caught:
        call()
    assert caught.value.detail
    assert "\n" not in caught.value.detail
    return caught.value.detail
