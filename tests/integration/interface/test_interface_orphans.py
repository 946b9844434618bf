import io
import time

import pytest

from aimq.errors import StoreUnavailable
from aimq.files.keys import digits_key, result_key, upload_key
from aimq.jobs.job import new_job_id
from interface.orphans import delete_orphans
from tests.integration.interface.conftest import finish, upload


@pytest.fixture
def a_day_later(door):
    """Make every file put until now a day old."""
    door.context.files._clock = lambda: time.time() + 86_460


def keys(files):
    return {key for folder in ("uploads", "results") for key in files.keys(folder)}


def put(files, *names):
    for name in names:
        files.put(name, io.BytesIO(b"x"))


async def test_old_files_that_no_job_names_are_deleted_and_all_others_kept(
    door, store, files, a_day_later
):
    job_id = (await upload(door)).json()["job_id"]
    finish(store, files, job_id)
    named = {upload_key(job_id), result_key(job_id)}
    foreign = {
        "uploads/notes.xlsx",
        f"uploads/{new_job_id()}.txt",
        f"results/a/{new_job_id()}.xlsx",
    }
    orphans = {make(new_job_id()) for make in (upload_key, result_key, digits_key)}
    put(files, *foreign, *orphans)

    await delete_orphans(door.context)

    assert keys(files) == named | foreign
    assert door.context.metrics.orphans._value.get() == 3


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
