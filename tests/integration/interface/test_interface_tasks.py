"""Asynchronous predictions, from the request to the queue and back."""

import asyncio
import io
import json

import msgspec
import pytest

from aimq.broker.topology import TASKS
from aimq.errors import StoreUnavailable
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Outcome
from aimq.messages import Kind, decode
from interface.sweep import expire
from tests.integration.interface.conftest import serving

RECORD = {"model_group": "A", "model": "Asta", "kilometers": 10_000, "doors": 4}
PREDICTION = {"predicted_price": 1.5, "model_group": "A", "model_version": "v1"}


def received(broker, queue=TASKS, limit=2000):
    subscription = broker.subscribe(queue, limit)
    try:
        return [decode(d.body) for d in subscription.receive(limit, timeout=5.0)]
    finally:
        subscription.close()


def complete(store, job_id, result=PREDICTION, status=Status.DONE, error=None):
    (claim,) = store.claim([job_id], "test", 30.0)
    body = msgspec.json.encode(result) if result else b""
    outcome = Outcome(claim=claim, status=status, error=error, result=body)
    assert store.settle([outcome]) == [True]


async def test_a_record_is_accepted_stored_and_queued(door, broker, store):
    answer = await door.post("/predict/async", json=RECORD)
    task = answer.json()

    assert answer.status_code == 202
    assert task == {
        "task_id": task["task_id"],
        "status": "queued",
        "result_url": f"/results/{task['task_id']}",
        "events_url": f"/results/{task['task_id']}/events",
    }
    assert answer.headers["location"] == task["result_url"]
    await door.context.writer.close()
    (message,) = received(broker)
    assert (message.job_id, message.kind) == (task["task_id"], Kind.PREDICTION)
    assert json.loads(store.get(task["task_id"]).input) == RECORD


async def test_the_result_is_fetched_by_its_id(door, store):
    task = (await door.post("/predict/async", json=RECORD)).json()
    early = (await door.get(task["result_url"])).json()
    complete(store, task["task_id"])
    late = (await door.get(task["result_url"])).json()

    given = {"task_id": task["task_id"], "error": None}
    assert early == {**given, "status": "queued", "result": None}
    assert late == {**given, "status": "done", "result": PREDICTION}


async def test_a_failed_task_says_why(door, store):
    task = (await door.post("/predict/async", json=RECORD)).json()
    complete(store, task["task_id"], None, Status.FAILED, "model: 'X' is not known")
    answer = (await door.get(task["result_url"])).json()

    assert (answer["status"], answer["result"]) == ("failed", None)
    assert answer["error"] == "model: 'X' is not known"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b"\xff", 400, "JSON"),
        (b"[" * 10_000, 400, "JSON"),
        (b"[]", 422, "one record"),
        (b"null", 422, "one record"),
        (b"{}", 422, "model_group, model, kilometers, doors"),
        (json.dumps({**RECORD, "doors": 9}).encode(), 422, "doors"),
        (json.dumps({**RECORD, "kilometers": "many"}).encode(), 422, "kilometers"),
        (b'"' + b"x" * 16_384 + b'"', 413, "bytes"),
    ],
)
async def test_a_wrong_record_is_refused_at_once(door, broker, body, status, said):
    answer = await door.post("/predict/async", content=body)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said.lower() in answer.json()["detail"].lower()
    assert (await door.get("/jobs")).json() == []


async def test_fields_that_the_model_does_not_know_are_not_stored(door, store):
    record = {**RECORD, "note": "x" * 10_000}
    task = (await door.post("/predict/async", json=record)).json()
    assert json.loads(store.get(task["task_id"]).input) == RECORD


async def test_before_the_schema_is_known_any_object_is_taken(settings, broker, store, files, ml):
    ml.stop()
    async with serving(settings, broker, store, files) as client:
        answer = await client.post("/predict/async", json={"anything": 1})
    assert answer.status_code == 202


async def test_a_thousand_at_once_are_all_accepted_in_few_calls_of_the_store(door, store, broker):
    sizes = []
    create = store.create
    store.create = lambda jobs, keys=(): sizes.append(len(jobs)) or create(jobs, keys)
    answers = await asyncio.gather(*(door.post("/predict/async", json=RECORD) for _ in range(1000)))
    del store.create

    assert {answer.status_code for answer in answers} == {202}
    ids = {answer.json()["task_id"] for answer in answers}
    assert (len(ids), sum(sizes)) == (1000, 1000)
    assert len(sizes) < 500
    await door.context.writer.close()
    assert {message.job_id for message in received(broker)} == ids


async def test_a_store_that_is_away_is_said_to_each(door, store, monkeypatch):
    def away(*_):
        raise StoreUnavailable("The store is away.")

    monkeypatch.setattr(store, "create", away)
    answers = await asyncio.gather(*(door.post("/predict/async", json=RECORD) for _ in range(3)))
    assert [a.status_code for a in answers] == [503] * 3
    assert all(int(a.headers["retry-after"]) > 0 for a in answers)
    monkeypatch.undo()
    assert (await door.post("/predict/async", json=RECORD)).status_code == 202


@pytest.mark.parametrize("path", ["/predict/async", "/factorial?no=3"])
async def test_past_the_bound_of_its_queue_a_task_is_put_off_with_the_depth(
    settings, broker, store, files, path
):
    def ask(client):
        if path == "/predict/async":
            return client.post(path, json=RECORD)
        return client.get(path)

    bounded = settings.model_copy(update={"queue_bound": 2})
    async with serving(bounded, broker, store, files) as client:
        first = [await ask(client) for _ in range(2)]
        for _ in range(200):
            refused = await ask(client)
            if refused.status_code == 503:
                break
        other = "/factorial?no=3" if path == "/predict/async" else "/predict/async"
        free = await (client.get(other) if "no=" in other else client.post(other, json=RECORD))

    assert [answer.status_code for answer in first] == [202, 202]
    assert refused.status_code == 503
    assert "messages wait already; at most 2 may" in refused.json()["detail"]
    assert int(refused.headers["retry-after"]) >= 1
    assert free.status_code == 202  # the other kind's queue is another one


class TestIdempotency:
    async def test_the_same_key_gives_the_same_task(self, door, broker):
        header = {"Idempotency-Key": "order-17"}
        first = await door.post("/predict/async", json=RECORD, headers=header)
        again = await door.post("/predict/async", json=dict(reversed(RECORD.items())),
                                headers=header)  # fmt: skip
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json()["task_id"] == again.json()["task_id"]
        await door.context.writer.close()
        assert len(received(broker)) == 1

    async def test_at_once_as_well(self, door, broker):
        header = {"Idempotency-Key": "order-18"}
        answers = await asyncio.gather(
            *(door.post("/predict/async", json=RECORD, headers=header) for _ in range(50))
        )
        assert len({answer.json()["task_id"] for answer in answers}) == 1

    async def test_with_another_body_it_is_refused_and_changes_nothing(self, door, store):
        header = {"Idempotency-Key": "order-19"}
        first = (await door.post("/predict/async", json=RECORD, headers=header)).json()
        other = await door.post("/predict/async", json={**RECORD, "doors": 2}, headers=header)
        assert other.status_code == 422
        assert other.json()["errors"][0]["field"] == "Idempotency-Key"
        assert json.loads(store.get(first["task_id"]).input) == RECORD
        assert len(store.recent()) == 1

    async def test_the_answer_tells_how_the_task_stands_now(self, door, store):
        header = {"Idempotency-Key": "order-20"}
        first = (await door.post("/predict/async", json=RECORD, headers=header)).json()
        complete(store, first["task_id"])
        again = (await door.post("/predict/async", json=RECORD, headers=header)).json()
        assert again["status"] == "done"

    @pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
    async def test_a_key_out_of_bounds_is_refused(self, door, key):
        answer = await door.post("/predict/async", json=RECORD, headers={"Idempotency-Key": key})
        assert answer.status_code == 422
        assert "255" in answer.json()["detail"]

    async def test_keys_of_different_clients_never_meet(self, settings, broker, store, files):
        keyed = settings.model_copy(update={"api_keys": frozenset({"one", "two"})})
        async with serving(keyed, broker, store, files) as client:
            await client.context.schema.refresh()
            ids = [
                (
                    await client.post(
                        "/predict/async",
                        json=RECORD,
                        headers={"Idempotency-Key": "k", "X-API-Key": api_key},
                    )
                ).json()["task_id"]
                for api_key in ("one", "two", "one")
            ]
        assert ids[0] == ids[2] != ids[1]


class TestCallbackUrl:
    @pytest.fixture
    def settings(self, settings):
        return settings.model_copy(update={"webhook_secret": "s3cret"})

    async def test_it_is_kept_apart_from_the_record(self, door, store):
        url = "https://example.org/hook"
        task = (await door.post("/predict/async", json={**RECORD, "callback_url": url})).json()
        job = store.get(task["task_id"])
        assert (job.callback_url, json.loads(job.input)) == (url, RECORD)

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1/x", "http://169.254.169.254/latest", "ftp://example.org", 7, ""]
    )
    async def test_one_that_leads_inside_is_refused(self, door, url):
        answer = await door.post("/predict/async", json={**RECORD, "callback_url": url})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "callback_url"

    async def test_the_same_key_with_another_url_is_another_request(self, door):
        header = {"Idempotency-Key": "k"}
        for url, status in (("https://a.org/", 202), ("https://b.org/", 422)):
            answer = await door.post(
                "/predict/async", json={**RECORD, "callback_url": url}, headers=header
            )
            assert answer.status_code == status


async def test_without_a_secret_no_callback_is_taken(door):
    body = {**RECORD, "callback_url": "https://example.org/hook"}
    answer = await door.post("/predict/async", json=body)
    assert answer.status_code == 422
    assert "AIMQ_WEBHOOK_SECRET" in answer.json()["detail"]


@pytest.mark.parametrize("id_", ["x", "0" * 32, "../../etc", "%00", "a" * 5000])
async def test_an_unknown_or_malformed_id_is_not_found(door, id_):
    answer = await door.get(f"/results/{id_}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_workbook_is_no_task(door, store):
    (job,) = store.create([Job(kind=Kind.SPREADSHEET)])
    assert (await door.get(f"/results/{job.job_id}")).status_code == 404


async def test_a_task_can_be_cancelled_and_is_gone_then(door, store):
    task = (await door.post("/predict/async", json=RECORD)).json()
    assert (await door.delete(f"/jobs/{task['task_id']}")).status_code == 204
    assert (await door.get(task["result_url"])).status_code == 404


async def test_expired_tasks_go_with_their_files(settings, broker, store, files, tmp_path):
    short = settings.model_copy(update={"result_ttl_seconds": 1})
    brief = connect_store(short)
    try:
        async with serving(short, broker, brief, files) as client:
            ids = [
                (await client.post("/predict/async", json=RECORD)).json()["task_id"]
                for _ in range(5)
            ]
            long_one = (await client.get("/factorial?no=30")).json()["request_id"]
            files.put(f"results/{long_one}.txt", io.BytesIO(b"1" * 100))
            while True:
                await expire(client.context)
                if not list(files.keys("results")):
                    break
                await asyncio.sleep(0.05)
            assert [brief.get(id_) for id_ in [*ids, long_one]] == [None] * 6
            assert brief.take_expired(1.0) == []
    finally:
        brief.close()
