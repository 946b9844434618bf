"""``POST /train``: what is taken, what is refused, and what a client sees of it."""

import asyncio

import msgspec
import pytest

from aimq import messages
from aimq.broker.topology import UPLOADS
from aimq.files.keys import upload_key
from aimq.jobs.job import Status
from aimq.jobs.port import Outcome
from aimq.jobs.training import Training
from tests.integration.interface.conftest import serving, workbook

TABLE = b"area;Price;region\n10;100;north\n20;210;south\n"


async def train(client, content=TABLE, filename="My Houses.csv", **fields):
    return await client.post("/train", files={"file": (filename, content)}, data=fields)


def received(broker):
    subscription = broker.subscribe(UPLOADS, 10)
    try:
        return [messages.decode(one.body) for one in subscription.receive(10, timeout=1.0)]
    finally:
        subscription.close()


async def test_a_table_is_stored_recorded_and_queued_with_what_is_asked(door, broker, store, files):
    answer = await train(
        door, target="price", group="region", task="regression", name="", unknown="x"
    )

    assert answer.status_code == 202
    accepted = answer.json()
    job_id = accepted["job_id"]
    assert accepted == {
        "job_id": job_id,
        "status": "queued",
        "model": "my_houses",
        "status_url": f"/jobs/{job_id}",
        "events_url": f"/jobs/{job_id}/events",
    }
    with files.open(upload_key(job_id)) as stored:
        assert stored.read() == TABLE
    job = store.get(job_id)
    assert (job.kind, job.filename, job.model) == ("training", "My Houses.csv", "my_houses")
    asked = msgspec.json.decode(job.input, type=Training)
    assert asked == Training(target="Price", ending=".csv", group="region", task="regression")
    (message,) = await asyncio.to_thread(received, broker)
    assert (message.job_id, message.kind) == (job_id, "training")


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({}, "target", "Say which column"),
        ({"target": "cost"}, "target", "no column 'cost'. It has: area, Price, region."),
        ({"target": "price", "group": "town"}, "group", "no column 'town'"),
        ({"target": "x" * 201}, "target", "no name of a column"),
        ({"target": "a\nb"}, "target", "no name of a column"),
        ({"target": "price", "task": "guessing"}, "task", "regression or classification"),
        ({"target": "price", "name": "../current"}, "name", "letters, digits"),
        ({"target": "price", "name": "x" * 65}, "name", "letters, digits"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_kept(door, store, files, fields, field, said):
    answer = await train(door, **fields)

    assert answer.status_code == 422
    problem = answer.json()
    assert said in problem["detail"]
    assert problem["errors"][0]["field"] == field
    assert store.recent() == []
    assert list(files.keys("uploads")) == []


@pytest.mark.parametrize(
    ("content", "name", "columns"),
    [
        (TABLE, "t.csv", ["area", "Price", "region"]),
        (b'\xef\xbb\xbf"first, one",second\n1,2\n', "T.CSV", ["first, one", "second"]),
        (workbook(("a", 1), header=["colour", " size "]), "t.xlsx", ["colour", "size"]),
        (b"\xc3\xa4,b\n" + b"\xc3\xa4" * 64 * 1024, "t.csv", ["ä", "b"]),
        (b"\n\na,b\n", "t.csv", ["a", "b"]),
        (b"gr\xf6\xdfe,b\n", "t.csv", []),
        (b"PAR1", "t.parquet", []),
        (b"a,b\0\n", "t.csv", []),
        (b"", "t.csv", []),
    ],
)
async def test_without_a_target_the_refusal_lists_the_columns_that_can_be_read(
    door, content, name, columns
):
    answer = await train(door, content, name)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["allowed"] == columns


@pytest.mark.parametrize(
    ("content", "name", "status", "said"),
    [
        (TABLE, "table.txt", 415, ".csv, .xlsx, .parquet"),
        (TABLE, "table.xlsx", 415, "CSV"),
        (b"x" * (2 * 1024 * 1024), "table.csv", 413, "Train on fewer rows"),
    ],
)
async def test_what_is_no_table_or_too_large_is_refused(door, content, name, status, said):
    answer = await train(door, content, name, target="price")

    assert answer.status_code == status
    assert said in answer.json()["detail"]


async def test_a_form_without_a_file_is_told_how_to_send_one(door):
    answer = await door.post("/train", data={"target": "price"})

    assert answer.status_code == 400
    assert "target=price" in answer.json()["detail"]


async def test_a_training_needs_the_key_like_everything_else(settings, broker, store, files):
    keyed = settings.model_copy(update={"api_keys": frozenset({"sesame"})})
    async with serving(keyed, broker, store, files) as client:
        assert (await train(client, target="price")).status_code == 401


async def test_what_was_trained_is_part_of_the_job_and_of_no_other_kind(door, store):
    job_id = (await train(door, target="price")).json()["job_id"]
    waiting = (await door.get(f"/jobs/{job_id}")).json()
    (claim,) = store.claim([job_id], "test", 30.0)
    result = msgspec.json.encode({"name": "my_houses", "version": "1"})
    store.settle([Outcome(claim=claim, status=Status.DONE, result=result)])
    done = (await door.get(f"/jobs/{job_id}")).json()
    upload = await door.post("/upload", files={"file": ("cars.xlsx", workbook())})
    other = (await door.get(upload.json()["status_url"])).json()

    assert waiting["training"] is None
    assert done["training"] == {"name": "my_houses", "version": "1"}
    assert "training" not in other
    answer = await door.get(f"/jobs/{job_id}/result")
    assert answer.status_code == 404
    assert "GET /jobs/" in answer.json()["detail"]
