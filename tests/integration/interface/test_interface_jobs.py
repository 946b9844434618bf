import asyncio

import pytest

from aimq.errors import StoreUnavailable
from aimq.files.keys import result_key, upload_key
from aimq.jobs.job import PUBLIC_FIELDS, Job
from aimq.messages import Kind
from interface.sweep import expire
from tests.integration.interface.conftest import finish, settle, upload

UNKNOWN = ["0" * 32, "x", "%00", "..%2f..", "é", "0" * 33, "A" * 32]


async def job_id_of(client, **named):
    return (await upload(client, **named)).json()["job_id"]


async def test_jobs_are_listed_newest_first_and_filtered(door, store, files):
    first, second = await job_id_of(door), await job_id_of(door)
    finish(store, files, first)

    listed = (await door.get("/jobs")).json()
    assert [job["job_id"] for job in listed] == [second, first]
    assert listed[0].keys() == set(PUBLIC_FIELDS)
    assert [job["job_id"] for job in (await door.get("/jobs?status=done")).json()] == [first]
    assert len((await door.get("/jobs?limit=1")).json()) == 1


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "status=lost"])
async def test_a_wrong_filter_is_named(door, query):
    answer = await door.get(f"/jobs?{query}")

    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.json()["detail"]


@pytest.mark.parametrize("job_id", UNKNOWN)
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/result"), ("DELETE", "")])
async def test_an_unknown_or_malformed_id_is_not_found(door, job_id, method, path):
    answer = await door.request(method, f"/jobs/{job_id}{path}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_result_is_downloaded_under_a_safe_form_of_its_name(door, store, files):
    job_id = await job_id_of(door, name='Übersicht "1".xlsx')
    content = bytes(range(256)) * 4096
    finish(store, files, job_id, content)

    answer = await door.get(f"/jobs/{job_id}/result")

    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))
    assert "%C3%9Cbersicht" in answer.headers["content-disposition"]
    assert "_predicted.xlsx" in answer.headers["content-disposition"]


async def test_a_result_that_is_not_there_yet_says_where_the_job_stands(door, store):
    job_id = await job_id_of(door)
    queued = await door.get(f"/jobs/{job_id}/result")
    settle(store, job_id, "failed", error="Name the columns.")
    failed = await door.get(f"/jobs/{job_id}/result")

    assert queued.status_code == failed.status_code == 409
    assert queued.json()["errors"][0]["given"] == "queued"
    assert "failed: Name the columns." in failed.json()["detail"]


async def test_a_result_whose_file_is_gone_has_expired(door, store, files):
    job_id = await job_id_of(door)
    finish(store, files, job_id)
    files.delete(result_key(store.get(job_id)))

    assert (await door.get(f"/jobs/{job_id}/result")).status_code == 410


async def test_a_task_has_no_workbook(door, store):
    (job,) = store.create([Job(kind=Kind.FACTORIAL)])

    assert (await door.get(f"/jobs/{job.job_id}/result")).status_code == 404


async def test_a_deleted_job_leaves_nothing_and_its_holder_lets_go(door, store, files):
    job_id = await job_id_of(door)
    (claim,) = store.claim([job_id], "test", 30.0)
    answer = await door.delete(f"/jobs/{job_id}")

    assert answer.status_code == 204
    assert answer.content == b""
    assert store.get(job_id) is None
    assert list(files.keys("uploads")) == []
    assert store.renew([claim], 30.0) == [False]
    assert (await door.delete(f"/jobs/{job_id}")).status_code == 404


async def test_a_store_that_is_away_is_said_so_with_a_time_to_come_back(door, store, monkeypatch):
    def away(*_):
        raise StoreUnavailable("The store is away.")

    monkeypatch.setattr(store, "get", away)
    monkeypatch.setattr(store, "recent", away)

    for path in ("/jobs", f"/jobs/{'0' * 32}"):
        answer = await door.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"


async def test_a_bug_is_answered_without_its_trace(door, store, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(store, "recent", broken)
    answer = await door.get("/jobs")

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


async def test_jobs_past_their_age_are_deleted_with_their_files(door, store, files, monkeypatch):
    job_id = await job_id_of(door)
    finish(store, files, job_id)
    keys = (upload_key(job_id), result_key(store.get(job_id)))
    expired = [[job_id], []]
    monkeypatch.setattr(store, "take_expired", lambda lease, limit: expired.pop(0))

    await expire(door.context)

    assert store.get(job_id) is None
    for key in keys:
        assert key not in [*files.keys("uploads"), *files.keys("results")]


async def test_a_job_that_changes_between_look_up_and_download_is_whole(door, store, files):
    job_id = await job_id_of(door)
    finish(store, files, job_id, b"x" * 600_000)

    answers = await asyncio.gather(*(door.get(f"/jobs/{job_id}/result") for _ in range(20)))

    assert {len(answer.content) for answer in answers} == {600_000}
