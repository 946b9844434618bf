"""Tasks through real processes, as a program meets them."""

import functools
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import openpyxl
import pytest
from websockets.sync.client import connect

from aimq.factorial import digits, factorial, preview
from tests.system import ROOT, environment, running


@functools.cache
def record():
    path = ROOT / "assets" / "sample_files" / "1_row.xlsx"
    header, values = openpyxl.load_workbook(path).worksheets[0].iter_rows(values_only=True)
    return dict(zip(header, values, strict=True))


@pytest.fixture(
    scope="module",
    params=[
        "embedded",
        pytest.param("rabbitmq-redis", marks=[pytest.mark.rabbitmq, pytest.mark.redis]),
    ],
)
def door(request, trained_models, tmp_path_factory):
    """Yield a client of the whole system, on either pair of adapters."""
    more = {"AIMQ_LOG_LEVEL": "warning", "AIMQ_CONCURRENCY": "2"}
    if request.param != "embedded":
        more["AIMQ_BROKER_URL"] = request.getfixturevalue("rabbitmq_server").new_vhost()
        more["AIMQ_STORE_URL"] = request.getfixturevalue("redis_url").removesuffix("/0") + "/5"
    environ = environment(tmp_path_factory.mktemp("tasks"), trained_models, **more)
    with (
        running(environ) as system,
        httpx.Client(base_url=system.url, timeout=60.0) as client,
    ):
        client.ml_url = system.ml_url
        yield client


def watched(door, url):
    """Return what a WebSocket says of a task, to its end."""
    with connect(f"ws{str(door.base_url)[4:].rstrip('/')}{url}") as socket:
        return [json.loads(text) for text in socket]


def test_an_asynchronous_prediction_is_that_of_predict(door):
    task = door.post("/predict/async", json=record()).raise_for_status().json()
    *_, last = watched(door, task["events_url"])
    at_once = door.post("/predict", json=record()).json()
    assert (last["status"], last["result"]) == ("done", at_once)
    assert door.get(task["result_url"]).json() == last


def test_a_thousand_at_once_are_all_done(door):
    with ThreadPoolExecutor(16) as pool:
        tasks = list(
            pool.map(lambda _: door.post("/predict/async", json=record()).json(), range(1000))
        )
        ends = list(pool.map(lambda task: watched(door, task["events_url"])[-1], tasks))
    assert {end["status"] for end in ends} == {"done"}
    assert len({end["task_id"] for end in ends}) == 1000


def test_a_long_factorial_arrives_complete_and_its_events_shortened(door):
    asked = door.get("/factorial", params={"no": 150_000}).raise_for_status().json()
    quick = door.post("/predict/async", json=record()).json()
    assert watched(door, quick["events_url"])[-1]["status"] == "done"
    *_, last = watched(door, asked["events_url"])
    text = digits(factorial(150_000))
    assert len(text) == 711_273
    assert last["result"] == {"digits": 711_273, "preview": preview(text)}
    whole = door.get(asked["result_url"]).json()
    assert whole == {
        "id": asked["request_id"], "input": 150_000, "status": "done", "output": text,
        "digits": 711_273, "error": None,
    }  # fmt: skip
    short = door.get(asked["result_url"] + "&preview=true").json()
    assert short["output"] == preview(text)


def test_more_long_factorials_than_workers_hold_up_no_prediction(door):
    slow = [door.get("/factorial?no=200000").json() for _ in range(5)]
    quick = door.post("/predict/async", json=record()).json()
    assert watched(door, quick["events_url"])[-1]["status"] == "done"
    for one in slow:
        assert door.delete(f"/jobs/{one['request_id']}").status_code == 204
        assert door.get(one["result_url"]).status_code == 404


def test_the_synchronous_baseline_and_the_ml_service_compute_the_same(door):
    sync = door.get("/factorial/sync?no=1000").json()
    simulated = httpx.post(f"{door.ml_url}/predict/factorial", json={"no": 1000}).json()
    assert sync["output"] == simulated["output"] == digits(factorial(1000))
    short = httpx.post(f"{door.ml_url}/predict/factorial", json={"no": 1000, "preview": True})
    assert short.json() == {"input": 1000, "output": preview(sync["output"]), "digits": 2568}


@pytest.mark.parametrize("no", [-1, 200_001, 1.5, "5", None, True])
def test_the_simulated_model_refuses_what_is_out_of_range(door, no):
    answer = httpx.post(f"{door.ml_url}/predict/factorial", json={"no": no})
    assert answer.status_code == 422
    assert "from 0 to 200000" in answer.json()["detail"]
