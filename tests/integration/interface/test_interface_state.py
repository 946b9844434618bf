import asyncio
import threading

import pytest

from aimq.errors import BrokerUnavailable, MlUnavailable, StoreUnavailable
from aimq.settings import SettingsError
from interface.app import run
from tests.integration.interface.conftest import serving, upload
from tests.integration.interface.stub_ml import COLUMNS

RECORD = {"model_group": "A", "model": "Asta", "kilometers": 10_000, "doors": 4}


async def test_it_is_ready_for_uploads_while_broker_and_ml_service_are_away(
    settings, broker, store, files, ml, monkeypatch
):
    def gone(*_):
        raise BrokerUnavailable("The queue is away.")

    monkeypatch.setattr(broker, "counts", gone)
    ml.stop()
    async with serving(settings, broker, store, files) as client:
        for step in (client.context.queues.refresh, client.context.schema.refresh):
            with pytest.raises(Exception, match=r"away|reached"):
                await step()
        answer = await client.get("/health/ready")
        metrics = (await client.get("/metrics")).text

    assert answer.status_code == 200
    assert answer.json()["broker"] == "The queue is away."
    assert "cannot be reached" in answer.json()["ml_service"]
    assert 'aimq_dependency_up{dependency="broker"} 0.0' in metrics
    assert 'aimq_dependency_up{dependency="ml_service"} 0.0' in metrics


def away(*_):
    raise StoreUnavailable("The store is away.")


async def test_it_is_ready_for_predictions_while_the_store_is_away(door, store, monkeypatch):
    for call in ("check", "create", "get", "recent"):
        monkeypatch.setattr(store, call, away)
    ready = await door.get("/health/ready")

    assert ready.status_code == 200
    assert ready.json()["store"] == "The store is away."
    assert ready.json()["ml_service"] == "up"
    assert (await door.post("/predict", content=b"{}")).status_code == 200
    for method, path in [
        ("POST", "/predict/async"), ("GET", "/factorial?no=5"), ("GET", "/jobs"),
    ]:  # fmt: skip
        answer = await door.request(method, path, json=RECORD)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (await upload(door)).status_code == 503


async def test_it_is_not_ready_when_neither_predictions_nor_uploads_can_be_served(
    door, store, ml, monkeypatch
):
    monkeypatch.setattr(store, "check", away)
    ml.stop()
    with pytest.raises(MlUnavailable):
        await door.context.schema.refresh()
    answer = await door.get("/health/ready")

    assert answer.status_code == 503
    assert answer.json()["store"] == "The store is away."
    assert "cannot be reached" in answer.json()["ml_service"]
    assert (await door.get("/health/live")).status_code == 200


async def test_a_store_that_never_answers_is_told_in_time(door, store, monkeypatch):
    answering = threading.Event()
    monkeypatch.setattr(store, "check", answering.wait)
    monkeypatch.setattr("interface.readiness._SECONDS", 0.01)
    try:
        assert "no answer" in (await door.get("/health/ready")).json()["store"]
    finally:
        answering.set()


async def test_the_schema_for_the_form_narrows_categories_by_group(door):
    form = (await door.get("/schema")).json()

    assert list(form["record"]["properties"]) == COLUMNS
    assert form["by_group"] == {"model": {"A": ["Asta"], "B": ["Bora", "Brio"]}}
    assert (form["prediction"], form["unit"], form["group"]) == (
        "predicted_price",
        "EUR",
        "model_group",
    )


async def test_the_last_schema_is_kept_while_the_ml_service_is_away(door, ml):
    ml.stop()
    with pytest.raises(Exception, match="reached"):
        await door.context.schema.refresh()

    assert (await door.get("/schema")).status_code == 200


async def test_without_a_schema_the_form_has_to_wait(settings, broker, store, files, ml):
    ml.stop()
    async with serving(settings, broker, store, files) as client:
        answer = await client.get("/schema")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/page/page.css", "/page/icon.svg"])
async def test_the_page_is_served_with_a_policy_that_allows_nothing_foreign(door, path):
    answer = await door.get(path)

    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "//" not in answer.text.replace("http://www.w3.org", "").replace("// ", "")


async def test_the_record_is_in_the_openapi_document(door):
    document = (await door.get("/openapi.json")).json()
    body = document["paths"]["/predict"]["post"]["requestBody"]

    reference = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert document["components"]["schemas"][reference]["required"] == COLUMNS
    assert {"/upload", "/jobs/{job_id}/result", "/dead-letters/replay"} <= document["paths"].keys()


async def _refused_socket(app, path):
    sent, said = [], asyncio.Queue()
    said.put_nowait({"type": "websocket.connect"})
    scope = {
        "type": "websocket", "path": path, "headers": [], "subprotocols": [], "query_string": b"",
        "root_path": "", "extensions": {"websocket.http.response": {}},
    }  # fmt: skip

    async def send(message):
        sent.append(message)

    await app(scope, said.get, send)
    return sent[0]["status"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", "/factorial"),
        ("POST", "/factorial"),
        ("GET", "/predict"),
        ("PUT", "/predict/async"),
    ],
)
async def test_other_methods_of_the_routes_before_the_frameworks_are_not_allowed(
    door, method, path
):
    assert (await door.request(method, path)).status_code == 405


async def test_with_keys_every_route_but_probes_documentation_and_page_needs_one(
    settings, broker, store, files
):
    keyed = settings.model_copy(update={"api_keys": frozenset({"sesame"})})
    async with serving(keyed, broker, store, files) as client:
        refused = [
            await client.request(method, path)
            for method, path in [
                ("GET", "/jobs"), ("POST", "/upload"), ("POST", "/predict"), ("GET", "/schema"),
                ("DELETE", "/jobs/1"),
                ("GET", "/dead-letters"), ("GET", "/nowhere"),
                ("GET", "/factorial?no=5"), ("POST", "/predict/async"),
            ]
        ]  # fmt: skip
        opened = await client.get("/jobs", headers={"X-API-Key": "sesame"})
        sockets = [
            await _refused_socket(client.app, path)
            for path in ("/jobs/1/events", "/results/1/events", "/nowhere/1/events")
        ]

    assert {answer.status_code for answer in refused} == {401}
    assert sockets == [401] * 3
    assert opened.status_code == 200


def test_an_open_door_is_refused(settings):
    with pytest.raises(SettingsError, match="AIMQ_API_KEYS"):
        run(settings.model_copy(update={"interface_host": "0.0.0.0"}))
