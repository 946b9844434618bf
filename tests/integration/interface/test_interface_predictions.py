import json

import pytest
import pytest_asyncio

from tests.integration.interface.conftest import listening, serving
from tests.integration.interface.stub_ml import PREDICTION


@pytest.fixture(params=[serving, listening], ids=["in the framework", "at the parser"])
def way(request):
    """Where most predictions are answered; the client's behaviour is the same."""
    return request.param


@pytest_asyncio.fixture
async def door(way, settings, broker, store, files):
    """Yield a client of an interface that has learnt the schema, over a connection it keeps."""
    async with way(settings, broker, store, files) as client:
        await client.context.schema.refresh()
        yield client


async def test_a_record_and_its_prediction_are_relayed_as_they_are(door, ml):
    body = b'{"model_group" : "A"}'
    answer = await door.post("/predict", content=body, headers={"traceparent": "nonsense"})

    assert answer.status_code == 200
    assert answer.json() == PREDICTION
    assert answer.headers["x-served-by"] == "onnxruntime"
    path, head, sent = ml.asked[-1]
    assert (path, sent) == ("/predict/onnx", body)
    assert b"traceparent: 00-" in head


@pytest.mark.parametrize("status", [400, 422, 429, 503])
async def test_the_ml_services_refusal_is_the_answer(door, ml, status):
    problem = {"status": status, "detail": "kilometers: is missing"}
    ml.status, ml.body = status, json.dumps(problem).encode()
    ml.headers = {
        "content-type": "application/problem+json",
        "Retry-After": "3",
        "RateLimit-Limit": "7",
        "x-internal": "private",
        "set-cookie": "a=b",
    }

    answer = await door.post("/predict", content=b"{}")

    assert answer.status_code == status
    assert answer.json() == problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "3"
    assert answer.headers["ratelimit-limit"] == "7"
    assert not {"x-internal", "set-cookie"} & answer.headers.keys()


async def test_an_ml_service_that_is_away_is_unavailable_for_now(door, ml):
    ml.stop()
    answer = await door.post("/predict", content=b"{}")

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"


async def test_a_body_over_the_bound_is_refused_in_one_piece_or_many(door, ml):
    async def pieces():
        for _ in range(20):
            yield b"x" * 100_000

    before = len(ml.asked)
    assert (await door.post("/predict", content=b"x" * 2_000_000)).status_code == 413
    assert (await door.post("/predict", content=pieces())).status_code == 413
    assert [path for path, *_ in ml.asked[before:] if path == "/predict/onnx"] == []


async def test_a_record_has_at_most_16_kib(door, ml):
    assert (await door.post("/predict", content=b"x" * 16_384)).status_code == 200
    assert (await door.post("/predict", content=b"x" * 16_385)).status_code == 413


async def test_a_body_in_pieces_is_put_together(door, ml):
    async def pieces():
        yield b'{"a":'
        yield b"1}"

    await door.post("/predict", content=pieces())

    assert ml.asked[-1][2] == b'{"a":1}'


async def test_the_internal_token_goes_with_it(way, settings, broker, store, files, ml):
    with_token = settings.model_copy(update={"internal_token": "inner"})
    async with way(with_token, broker, store, files) as client:
        await client.post("/predict", content=b"{}")

    assert b"Authorization: Bearer inner" in ml.asked[-1][1]


async def test_predictions_are_counted_by_status(door, ml):
    await door.post("/predict", content=b"{}")
    ml.status = 429
    await door.post("/predict", content=b"{}")

    metrics = (await door.get("/metrics")).text
    assert 'aimq_predictions_total{status="200"} 1.0' in metrics
    assert 'aimq_predictions_total{status="429"} 1.0' in metrics
    assert "aimq_predict_seconds_count 2.0" in metrics


async def test_another_method_is_not_allowed(door):
    assert (await door.get("/predict")).status_code == 405


@pytest.mark.parametrize("body", [b"[]", b" \r\n\t[{}]"])
async def test_a_list_is_refused_here_though_the_ml_service_takes_lists(door, ml, body):
    answer = await door.post("/predict", content=body)

    assert answer.status_code == 422
    assert "POST /upload" in answer.json()["detail"]
    assert not [path for path, *_ in ml.asked if path.startswith("/predict")]


async def test_a_key_is_needed_where_keys_are_set(way, settings, broker, store, files, ml):
    with_keys = settings.model_copy(update={"api_keys": frozenset({"right"})})
    async with way(with_keys, broker, store, files) as client:
        await client.context.schema.refresh()
        asked = [
            (await client.post("/predict", content=b"{}", headers={"X-API-Key": key})).status_code
            for key in ("right", "wrong", "right")
        ]
    assert asked == [200, 401, 200]
    assert [path for path, *_ in ml.asked].count("/predict/onnx") == 2


async def test_another_web_site_may_not_ask(door, ml):
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert (await door.post("/predict", content=b"{}", headers=headers)).status_code == 403


async def test_a_trace_goes_on_in_the_ml_service(door, ml):
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    await door.post("/predict", content=b"{}", headers={"traceparent": trace})
    (line,) = [line for line in ml.asked[-1][1].split(b"\r\n") if b"traceparent" in line]
    assert line.startswith(b"traceparent: 00-" + b"a" * 32)
    assert line.endswith(b"-01")
    assert b"b" * 16 not in line
