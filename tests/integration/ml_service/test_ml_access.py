"""Who may call the ML service: keys, names, web sites, rates; and that refusals are counted."""

from __future__ import annotations

import pytest

from aimq.settings import Settings

KEY = {"X-API-Key": "sesame"}
OPEN = [
    "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json",
    "/v2/health/live", "/v2/health/ready",
]  # fmt: skip
CLOSED = [
    ("POST", "/predict/onnx"), ("POST", "/predict/pickle"), ("POST", "/predict/factorial"),
    ("GET", "/models"), ("POST", "/models/reload"), ("GET", "/v2"), ("GET", "/v2/models/used_cars"),
    ("POST", "/v2/models/used_cars/infer"), ("GET", "/nowhere"),
]  # fmt: skip


@pytest.fixture
async def keyed(serve, trained_models):
    settings = Settings(models_dir=trained_models, api_keys=frozenset({"sesame"}))
    async with serve(settings) as service:
        yield service


async def test_with_keys_only_probes_and_documentation_are_open(keyed):
    assert {path: (await keyed.get(path)).status_code for path in OPEN} == dict.fromkeys(OPEN, 200)
    for method, path in CLOSED:
        answer = await keyed.request(method, path, content=b"{}")
        assert answer.status_code == 401, path
        assert answer.headers["content-type"] == "application/problem+json"
        answer = await keyed.request(method, path, content=b"{}", headers=KEY)
        assert answer.status_code != 401, path


async def test_without_its_key_a_prediction_is_refused_before_it_is_computed_and_counted(
    keyed, record
):
    assert (await keyed.post("/predict/onnx", json=record)).status_code == 401
    assert (await keyed.post("/nowhere/at/all", json=record)).status_code == 401
    text = (await keyed.get("/metrics")).text
    assert 'aimq_ml_requests_total{route="/predict/onnx",status="401"} 1.0' in text
    assert 'aimq_ml_requests_total{route="other",status="401"} 1.0' in text
    assert "aimq_ml_rows_total{" not in text


@pytest.mark.parametrize("path", ["/models/reload", "/predict/factorial", "/predict/onnx"])
async def test_another_web_site_may_not_make_a_browser_ask(serve, trained_models, path):
    async with serve(Settings(models_dir=trained_models)) as service:
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "https://elsewhere.example"},
            {"Host": "rebound.example"},
        ):
            assert (await service.post(path, content=b"{}", headers=headers)).status_code == 403
        assert (await service.post(path, content=b"{}")).status_code != 403


async def test_the_rate_of_the_other_routes_is_limited_by_client(serve, trained_models):
    settings = Settings(models_dir=trained_models, rate_limit="3/hour", internal_token="inner")
    async with serve(settings) as service:
        answers = [await service.get("/models") for _ in range(2)]
        answers += [await service.post("/predict/factorial", json={"no": 5}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        refused = answers[-1]
        assert refused.headers["content-type"] == "application/problem+json"
        assert 3500 < int(refused.headers["retry-after"]) <= 3600
        assert refused.headers["ratelimit-limit"] == "3"
        headers = {"Authorization": "Bearer inner"}
        assert (await service.get("/models", headers=headers)).status_code == 200
