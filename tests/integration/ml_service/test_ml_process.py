"""The ML service as a process: right answers to many at once, limits, keys, and a clean stop."""

from __future__ import annotations

import asyncio
import json
import signal

import httpx
import msgspec
import pytest
from ml_published import publish_copy

from benchmarks import load
from benchmarks.service import ml_service

LATER = "29990101T000000Z"


@pytest.fixture
def data(tmp_path):
    return tmp_path


async def ask(url: str, rows: list[dict], **options) -> load.Outcome:
    bodies = [json.dumps(row).encode() for row in rows]
    requests = [load.request(url, body, options.pop("headers", None)) for body in bodies]
    return await load.run(url, requests, keep_bodies=True, **options)


async def test_ten_thousand_concurrent_mixed_requests_get_ten_thousand_right_answers(
    trained_models, data, records
):
    rows = records(500, seed=12)
    with ml_service(trained_models, data, AIMQ_RATE_LIMIT="1000000/second") as service:
        expected = httpx.post(f"{service.url}/predict/onnx", json=rows, timeout=60).json()
        outcome = await ask(f"{service.url}/predict/onnx", rows, total=10_000, connections=32)
    wrong = 0
    for number, body in outcome.bodies.items():
        wrong += msgspec.json.decode(body) != expected[number % len(rows)]
    assert outcome.statuses == {200: 10_000}
    assert (len(outcome.bodies), wrong) == (10_000, 0)


async def test_a_version_published_under_load_fails_no_request(models, data, records):
    rows = records(50, seed=13)
    with ml_service(models, data, AIMQ_RATE_LIMIT="1000000/second") as service:
        url = f"{service.url}/predict/onnx"
        load_ = asyncio.create_task(ask(url, rows, seconds=3, connections=8))
        publish_copy(models, LATER)
        outcome = await load_
    assert set(outcome.statuses) == {200}
    versions = {msgspec.json.decode(body)["model_version"] for body in outcome.bodies.values()}
    assert LATER in versions
    assert len(versions) == 2


async def test_over_its_limit_a_client_is_told_when_to_come_back_and_probes_are_exempt(
    trained_models, data, record
):
    with ml_service(trained_models, data, AIMQ_RATE_LIMIT="3/hour") as service:
        async with httpx.AsyncClient(base_url=service.url) as client:
            answers = [await client.post("/predict/onnx", json=record) for _ in range(5)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
            refused = answers[-1]
            assert refused.headers["content-type"] == "application/problem+json"
            assert 3500 < int(refused.headers["retry-after"]) <= 3600
            assert refused.headers["ratelimit-limit"] == "3"
            assert refused.headers["ratelimit-remaining"] == "0"
            assert "ratelimit-reset" in refused.headers
            for path in ("/health/live", "/health/ready", "/metrics"):
                for _ in range(5):
                    assert (await client.get(path)).status_code == 200
            assert "aimq_ml_rate_limit 3.0" in (await client.get("/metrics")).text


async def test_the_token_of_our_services_lifts_the_limit_per_client(trained_models, data, record):
    environ = {"AIMQ_RATE_LIMIT": "3/hour", "AIMQ_INTERNAL_TOKEN": "secret-token"}
    with ml_service(trained_models, data, **environ) as service:
        async with httpx.AsyncClient(base_url=service.url) as client:
            for token, statuses in (
                ("secret-token", [200] * 8),
                ("wrong", [200, 200, 200, 429, 429, 429, 429, 429]),
            ):
                headers = {"authorization": f"Bearer {token}"}
                answers = [
                    await client.post("/predict/onnx", json=record, headers=headers)
                    for _ in range(8)
                ]
                assert [answer.status_code for answer in answers] == statuses


async def test_with_keys_set_only_a_key_or_the_token_lets_in(trained_models, data, record):
    environ = {"AIMQ_API_KEYS": "one,two", "AIMQ_INTERNAL_TOKEN": "secret-token"}
    with ml_service(trained_models, data, **environ) as service:
        async with httpx.AsyncClient(base_url=service.url) as client:
            for headers, status in (
                ({}, 401),
                ({"x-api-key": "three"}, 401),
                ({"x-api-key": "two"}, 200),
                ({"authorization": "Bearer secret-token"}, 200),
            ):
                for method, path, body in (
                    ("POST", "/predict/onnx", record),
                    ("POST", "/predict/pickle", [record]),
                    ("GET", "/models", None),
                    ("POST", "/models/reload", {}),
                ):
                    answer = await client.request(method, path, json=body, headers=headers)
                    assert answer.status_code == status, (path, headers)
            assert (await client.get("/health/ready")).status_code == 200


async def test_far_more_than_it_can_take_at_once_is_shed_and_nothing_else_goes_wrong(
    trained_models, data, records
):
    rows = records(50, seed=14)
    with ml_service(trained_models, data, AIMQ_RATE_LIMIT="1000000/second") as service:
        url = f"{service.url}/predict/onnx"
        outcome = await ask(url, rows, seconds=2, connections=400)
        after = httpx.post(url, json=rows[0])
    assert set(outcome.statuses) <= {200, 503}
    assert outcome.statuses[200] > 0
    assert after.status_code == 200


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_ends_with_success(trained_models, data, signum):
    with ml_service(trained_models, data) as service:
        assert service.stop(signum) == 0
        assert "Traceback" not in service.log.read_text()
