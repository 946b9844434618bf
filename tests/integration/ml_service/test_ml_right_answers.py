"""Many requests at once over all groups get their own right answers, on RedisAI and from pickles.

The same in-process is in `test_ml_process`.
"""

from __future__ import annotations

import asyncio
import json

import httpx
import msgspec
import pytest
from redisai_server.process import RedisAiServer

from benchmarks import load
from benchmarks.service import ml_service
from tests.system import constants

UNLIMITED = {"AIMQ_RATE_LIMIT": "1000000/second"}


@pytest.fixture
def redisai():
    with RedisAiServer() as server:
        yield server


def requests(url: str, rows: list[dict]) -> list[bytes]:
    return [load.request(url, json.dumps(row).encode()) for row in rows]


def is_right(answer: dict, expected: dict) -> bool:
    """Whether all is equal, but for the last digit of a sum of float32 in another order."""
    price = pytest.approx(expected["predicted_price"], rel=1e-6)
    return answer == {**expected, "predicted_price": price}


def wrong_answers(outcome: load.Outcome, expected: list[dict]) -> int:
    return sum(
        not is_right(msgspec.json.decode(body), expected[number % len(expected)])
        for number, body in outcome.bodies.items()
    )


async def served(client: httpx.AsyncClient, by: str) -> float:
    """Return how many rows a runtime has answered, as the service counts."""
    lines = (await client.get("/metrics")).text.splitlines()
    name = f'aimq_ml_rows_total{{endpoint="onnx",model="used_cars",runtime="{by}"}} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


async def until_served(client: httpx.AsyncClient, by: str, more: int) -> None:
    reached = await served(client, by) + more
    async with asyncio.timeout(60):
        while await served(client, by) < reached:
            await asyncio.sleep(0.01)


async def test_redisai_killed_and_restarted_amid_ten_thousand_requests_costs_none(
    trained_models, tmp_path, records, redisai
):
    rows = records(500, seed=31)
    environ = {"AIMQ_REDISAI_URL": redisai.url, **constants(redisai_timeout_seconds=2)}
    with ml_service(trained_models, tmp_path, **environ, **UNLIMITED) as service:
        url = f"{service.url}/predict/onnx"
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            expected = (await client.post("/predict/onnx", json=rows)).json()
            asked = load.run(
                url, requests(url, rows), total=10_000, connections=32, rate=1500, keep_bodies=True
            )
            asking = asyncio.create_task(asked)
            await until_served(client, "redisai", 1000)
            redisai.kill()
            await until_served(client, "onnxruntime", 1000)
            await asyncio.to_thread(redisai.start)
            assert not asking.done()
            outcome = await asking
            again = asyncio.create_task(until_served(client, "redisai", 1))
            while not again.done():
                answer = await client.post("/predict/onnx", json=rows[0])
                assert is_right(answer.json(), expected[0])
                await asyncio.sleep(0.01)
    assert outcome.statuses == {200: 10_000}
    assert (len(outcome.bodies), wrong_answers(outcome, expected)) == (10_000, 0)


async def test_pickles_answer_each_request_rightly_though_all_come_at_once(
    trained_models, tmp_path, records
):
    rows = records(100, seed=32)  # each request reads its forest from disk: 300 are plenty here
    with ml_service(trained_models, tmp_path, **UNLIMITED) as service:
        url = f"{service.url}/predict/pickle"
        expected = httpx.post(url, json=rows, timeout=60).json()
        outcome = await load.run(
            url, requests(url, rows), total=300, connections=32, keep_bodies=True
        )
    assert outcome.statuses == {200: 300}
    assert (len(outcome.bodies), wrong_answers(outcome, expected)) == (300, 0)
