"""A file of an earlier layout: its jobs are there after the upgrade, and can be worked on."""

import sqlite3

import pytest

from aimq.jobs.job import Job, Status
from aimq.jobs.port import Outcome
from aimq.jobs.sqlite import SqliteStore
from aimq.messages import Kind
from aimq.settings import Settings
from aimq.sqlite.migrations import APPLICATION_ID, MIGRATIONS
from aimq.times import now_us

EARLIER = 4
JOB_ID = "0" * 32


@pytest.fixture
def settings(tmp_path):
    """A file as the version before wrote it, with one job that is queued."""
    path = tmp_path / "jobs.db"
    old = sqlite3.connect(path)
    for script in MIGRATIONS[:EARLIER]:
        old.executescript(script)
    old.execute(
        "INSERT INTO job (job_id, kind, filename, status, rows_done, rows_failed, attempts,"
        " model_versions, created_at, published, traceparent, callback_url, change, input, result)"
        " VALUES (?, 'spreadsheet', 'cars.xlsx', 'queued', 0, 0, 0, '{}', ?, 1, '', '', 1, '', '')",
        (JOB_ID, now_us()),
    )
    old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    old.execute(f"PRAGMA user_version = {EARLIER}")
    old.commit()
    old.close()
    return Settings(store_url=f"sqlite:///{path}")


def test_a_job_of_an_earlier_layout_is_for_the_default_model_and_is_finished(settings):
    store = SqliteStore(settings)
    (claim,) = store.claim([JOB_ID], "worker", 30.0)
    assert (claim.job.filename, claim.job.model, claim.job.interval) == ("cars.xlsx", "", 0)
    assert store.settle([Outcome(claim=claim, status=Status.DONE, model="houses")]) == [True]
    assert store.get(JOB_ID).model == "houses"
    store.close()


def test_new_jobs_go_beside_the_old(settings):
    store = SqliteStore(settings)
    job = Job(kind=Kind.SPREADSHEET, model="houses", interval=90)
    store.create([job])
    assert store.get(job.job_id) == job
    assert {found.job_id for found in store.recent()} == {job.job_id, JOB_ID}
    store.close()
