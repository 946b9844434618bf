import io
import time

import pytest

from aimq.errors import StoreUnavailable
from aimq.files.keys import earlier_keys, new_result_key, result_key, upload_key
from aimq.jobs.job import new_job_id
from interface.orphans import delete_orphans
from tests.integration.interface.conftest import finish, settle, upload


@pytest.fixture
def a_day_later(door):
    """Make every file put until now a day old."""
    door.context.files._clock = lambda: time.time() + 86_460


def keys(files):
    return {key for folder in ("uploads", "results") for key in files.keys(folder)}


def put(files, *names):
    for name in names:
        files.put(name, io.BytesIO(b"x"))


async def test_old_files_of_unknown_jobs_are_deleted_and_all_others_kept(
    door, store, files, a_day_later
):
    job_id = (await upload(door)).json()["job_id"]
    finish(store, files, job_id)
    named = {upload_key(job_id), result_key(store.get(job_id))}
    foreign = {
        "uploads/notes.xlsx",
        f"uploads/{new_job_id()}.txt",
        f"results/a/{new_job_id()}.xlsx",
    }
    gone = new_job_id()
    orphans = {upload_key(gone), *earlier_keys(gone), f"results/{gone}/0123456789abcdef.xlsx"}
    put(files, *foreign, *orphans)

    await delete_orphans(door.context)

    assert keys(files) == named | foreign
    assert door.context.metrics.orphans._value.get() == 4


async def test_the_file_of_a_void_claim_is_deleted_once_its_job_has_ended(
    door, store, files, a_day_later
):
    done, working = [(await upload(door)).json()["job_id"] for _ in range(2)]
    (void,) = store.claim([done], "first", 0.0)
    finish(store, files, done)
    (claim,) = store.claim([working], "test", 30.0)
    late, written = new_result_key(void), new_result_key(claim)
    put(files, late, written)

    await delete_orphans(door.context)

    named = {upload_key(done), upload_key(working), store.get(done).result_key}
    assert keys(files) == named | {written}


async def test_a_result_of_an_earlier_version_is_kept(door, store, files, a_day_later):
    job_id = (await upload(door)).json()["job_id"]
    settle(store, job_id, "done")
    put(files, f"results/{job_id}.xlsx")

    await delete_orphans(door.context)

    assert keys(files) == {upload_key(job_id), f"results/{job_id}.xlsx"}
    assert (await door.get(f"/jobs/{job_id}/result")).content == b"x"


async def test_more_files_than_one_batch_are_deleted(door, files, a_day_later):
    put(files, *(upload_key(new_job_id()) for _ in range(450)))
    await delete_orphans(door.context)
    assert keys(files) == set()


async def test_a_young_file_may_belong_to_an_upload_under_way(door, files):
    put(files, upload_key(new_job_id()))
    await delete_orphans(door.context)
    assert len(keys(files)) == 1


async def test_nothing_is_deleted_while_the_store_is_away(
    door, store, files, a_day_later, monkeypatch
):
    put(files, upload_key(new_job_id()))

    def away(job_id):
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "get", away)
    with pytest.raises(StoreUnavailable):
        await delete_orphans(door.context)
    assert len(keys(files)) == 1
