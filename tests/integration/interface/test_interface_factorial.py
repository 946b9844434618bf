"""The factorial workload over HTTP."""

import asyncio
import io
import math

import msgspec
import pytest

from aimq.broker.topology import FACTORIALS
from aimq.factorial import digits, factorial
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Outcome
from aimq.messages import Kind, decode
from tests.integration.interface.conftest import serving

TOKEN = "internal"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"internal_token": TOKEN, "factorial_max": 50_000})


async def ask(door, no=5):
    return (await door.get("/factorial", params={"no": no})).json()["request_id"]


def update(door, headers=BEARER, **body):
    return door.post("/factorial/update", json=body, headers=headers)


async def test_it_is_accepted_at_once_and_queued(door, broker):
    answer = await door.get("/factorial?no=5")
    body = answer.json()
    id_ = body["request_id"]
    assert answer.status_code == 202
    assert body == {
        "request_id": id_,
        "status": "processing",
        "result_url": f"/factorial/result?id={id_}",
        "events_url": f"/results/{id_}/events",
    }
    assert (await door.get(body["result_url"])).json() == {
        "id": id_, "input": 5, "status": "processing", "output": None, "error": None,
    }  # fmt: skip
    await door.context.writer.close()
    subscription = broker.subscribe(FACTORIALS, 1)
    (delivery,) = subscription.receive(timeout=5.0)
    assert decode(delivery.body).job_id == id_
    subscription.close()


@pytest.mark.parametrize(
    "query",
    ["", "no=", "no=x", "no=NaN", "no=-1", "no=1.5", "no=1e3", "no=50001", "no=" + "9" * 6000,
     "no=%EF%BC%95", "no=+5", "no=0x5", "no=inf"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/factorial", "/factorial/sync"])
async def test_a_number_out_of_range_is_refused_with_the_range(door, path, query):
    answer = await door.get(f"{path}?{query}")
    assert answer.status_code == 422
    assert "from 0 to 50000" in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == "no"
    assert (await door.get("/jobs")).json() == []


async def test_another_web_site_cannot_make_a_visitors_browser_ask(door):
    answer = await door.get("/factorial?no=5", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.parametrize("id_", ["", "x", "0" * 32, "..%2F..%2Fetc"])
async def test_an_unknown_or_malformed_id_is_not_found(door, id_):
    assert (await door.get(f"/factorial/result?id={id_}")).status_code == 404
    assert (await update(door, id=id_, output="1")).status_code == 404


async def test_the_id_of_another_kind_is_not_found(door, store):
    (job,) = store.create([Job(kind=Kind.PREDICTION, input=b"{}")])
    assert (await door.get(f"/factorial/result?id={job.job_id}")).status_code == 404
    assert (await update(door, id=job.job_id, output="1")).status_code == 404


class TestUpdate:
    @pytest.mark.parametrize(
        "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN},
                    {"Authorization": "Bearer "}, {"X-API-Key": TOKEN}]
    )  # fmt: skip
    async def test_strangers_are_refused(self, door, store, headers):
        id_ = await ask(door)
        assert (await update(door, headers, id=id_, output="120")).status_code == 401
        assert store.get(id_).status is Status.QUEUED

    async def test_with_no_token_set_nobody_may_report(self, settings, broker, store, files):
        open_door = settings.model_copy(update={"internal_token": ""})
        async with serving(open_door, broker, store, files) as client:
            id_ = await ask(client)
            for headers in ({}, {"Authorization": "Bearer "}):
                assert (await update(client, headers, id=id_, output="1")).status_code == 401

    async def test_a_reported_result_is_served(self, door):
        id_ = await ask(door)
        assert (await update(door, id=id_, output="120")).json() == {"id": id_, "status": "done"}
        answer = (await door.get(f"/factorial/result?id={id_}")).json()
        assert answer == {
            "id": id_, "input": 5, "status": "done", "output": "120", "digits": 3, "error": None,
        }  # fmt: skip

    async def test_a_long_result_is_complete_and_lies_in_a_file(self, door, store, files):
        text = digits(factorial(25_000))
        id_ = await ask(door, 25_000)
        await update(door, id=id_, output=text)
        whole = (await door.get(f"/factorial/result?id={id_}")).json()
        short = (await door.get(f"/factorial/result?id={id_}&preview=true")).json()
        task = (await door.get(f"/results/{id_}")).json()
        assert whole["output"] == text
        assert list(files.keys("results")) == [store.get(id_).result_key]
        assert short["digits"] == len(text) == 99_094
        assert len(short["output"]) < 80
        assert task["result"] == {"digits": len(text), "preview": short["output"]}
        await door.delete(f"/jobs/{id_}")
        assert list(files.keys("results")) == []

    async def test_a_lost_file_is_said_to_have_expired(self, door, store, files):
        id_ = await ask(door, 25_000)
        await update(door, id=id_, output="9" * 70_000)
        files.delete(store.get(id_).result_key)
        assert (await door.get(f"/factorial/result?id={id_}")).status_code == 410

    async def test_a_reported_failure_is_served(self, door):
        id_ = await ask(door)
        await update(door, id=id_, status="failed", error="out of memory")
        answer = (await door.get(f"/factorial/result?id={id_}")).json()
        assert (answer["status"], answer["error"]) == ("failed", "out of memory")

    @pytest.mark.parametrize("end", [Status.DONE, Status.FAILED, Status.CANCELLED])
    async def test_a_late_report_changes_nothing(self, door, store, end):
        id_ = await ask(door)
        await door.context.writer.close()
        if end is Status.CANCELLED:
            store.cancel(id_)
        else:
            (claim,) = store.claim([id_], "test", 30.0)
            result = msgspec.json.encode({"digits": 3, "preview": "120", "output": "120"})
            store.settle([Outcome(claim=claim, status=end, error="why", result=result)])
        before = store.get(id_)
        assert (await update(door, id=id_, output="121")).status_code == 409
        assert store.get(id_) == before

    async def test_one_that_a_worker_of_ours_holds_is_left_alone(self, door, store):
        id_ = await ask(door)
        store.claim([id_], "test", 30.0)
        before = store.get(id_)
        assert (await update(door, id=id_, output="121")).status_code == 409
        assert store.get(id_) == before

    @pytest.mark.parametrize(
        "body",
        [{}, {"status": "queued"}, {"output": "12a"}, {"output": 12},
         {"output": ""}, {"status": "failed"}, {"status": "failed", "error": "x" * 3000},
         {"output": "1", "more": 1}],
    )  # fmt: skip
    async def test_a_report_out_of_form_is_refused(self, door, store, body):
        id_ = await ask(door)
        given = {**body, "id": id_} if body else {}
        assert (await update(door, **given)).status_code == 422
        assert store.get(id_).status is Status.QUEUED

    async def test_a_report_larger_than_any_result_is_refused(self, door):
        id_ = await ask(door)
        answer = await update(door, id=id_, output="1" * 400_000)
        assert answer.status_code == 413


class TestSynchronousBaseline:
    async def test_it_answers_with_the_digits(self, door):
        answer = (await door.get("/factorial/sync?no=20")).json()
        assert answer["output"] == str(math.factorial(20))

    async def test_more_than_may_wait_are_refused_for_now(
        self, settings, broker, store, files, monkeypatch
    ):
        monkeypatch.setattr("interface.sync_factorial._WAITING", 1)
        one_at_once = settings.model_copy(update={"concurrency": 1})
        async with serving(one_at_once, broker, store, files) as client:
            asked = [client.get("/factorial/sync?no=20000") for _ in range(3)]
            answers = await asyncio.gather(*asked)
        assert sorted(answer.status_code for answer in answers) == [200, 200, 503]
        assert all("retry-after" in each.headers for each in answers if each.status_code == 503)

    async def test_another_web_site_cannot_make_a_visitors_browser_ask(self, door):
        headers = {"Sec-Fetch-Site": "cross-site"}
        assert (await door.get("/factorial/sync?no=5", headers=headers)).status_code == 403

    async def test_the_interface_stays_usable_meanwhile(self, door):
        slow = [asyncio.create_task(door.get("/factorial/sync?no=50000")) for _ in range(6)]
        while door.context.sync_factorial._threads.under_way < len(slow):
            await asyncio.sleep(0.005)
        assert (await door.get("/health/live")).status_code == 200
        assert not all(task.done() for task in slow)
        answers = await asyncio.gather(*slow)
        assert {answer.json()["digits"] for answer in answers} == {213_237}


async def test_the_result_is_read_from_where_workers_put_it(door, store, files):
    id_ = await ask(door)
    (claim,) = store.claim([id_], "test", 30.0)
    files.put(f"results/{id_}.txt", io.BytesIO(b"7" * 70_000))
    result = msgspec.json.encode({"digits": 70_000, "preview": "777"})
    store.settle([Outcome(claim=claim, status=Status.DONE, result=result)])
    assert (await door.get(f"/factorial/result?id={id_}")).json()["output"] == "7" * 70_000
