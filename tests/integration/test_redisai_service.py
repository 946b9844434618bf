"""The ML service on RedisAI: who served is said, and an outage is not noticed by a client."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from redisai_server.process import RedisAiServer

from aimq.settings import Settings
from ml_service.app import create_app

RECORD = {
    "model_group": "A",
    "model": 180,
    "kilometers": 60_000,
    "fuel_type": "Gasoline",
    "gear_type": "Manual",
    "vehicle_type": "Sedan Car",
    "age_in_months": 48,
    "color": "Blue",
    "line": "Standard",
    "doors": "4 to 5",
    "seats": "4 to 5",
    "climate": "Air Conditioning",
}


@pytest.fixture
def server():
    with RedisAiServer() as server:
        yield server


@pytest.fixture
async def client(server, trained_models):
    settings = Settings(
        redisai_url=server.url, models_dir=trained_models, redisai_timeout_seconds=2
    )
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        async with asyncio.timeout(30):
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.02)
        yield client


@pytest.fixture
async def record(client):
    """A record that the published schema takes, made of its own categories."""
    schema = (await client.get("/models")).json()["schema"]
    chosen = {
        feature["name"]: next(iter(feature["categories"]["A"]))
        if isinstance(feature["categories"], dict)
        else feature["categories"][0]
        for feature in schema["features"]
        if feature.get("categories")
    }
    return {**RECORD, **chosen}


async def test_an_outage_of_redisai_is_told_by_a_header_and_by_nothing_else(server, client, record):
    async def ask() -> tuple[str, dict]:
        answer = await client.post("/predict/onnx", json=record)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-served-by"], answer.json()

    first = await ask()
    assert first[0] == "redisai"
    server.kill()
    during = await asyncio.gather(*(ask() for _ in range(100)))
    assert {served_by for served_by, _ in during} == {"onnxruntime"}
    assert all(answer == first[1] for _, answer in during)
    server.start()
    async with asyncio.timeout(30):
        while (await ask())[0] != "redisai":
            await asyncio.sleep(0.02)
    assert await ask() == first
