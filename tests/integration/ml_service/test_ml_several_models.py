"""Several models in one service: found by name, loaded on demand, none in another's way."""

from __future__ import annotations

import shutil

import pytest

from aimq.settings import Settings
from ml_service import catalogue


@pytest.fixture(autouse=True)
def _watch_often(monkeypatch):
    monkeypatch.setattr(catalogue, "WATCH_SECONDS", 0.02)


@pytest.fixture
def settings(models):
    return Settings(models_dir=models, rate_limit="1000000/second")


async def test_a_model_is_loaded_when_it_is_asked_for_by_name(serve, settings, models, record):
    shutil.copytree(models / "used_cars", models / "others")
    async with serve(settings) as service:
        expected = (await service.post("/predict/onnx", json=record)).json()
        answer = await service.post("/models/others/predict", json=record)
        assert (answer.status_code, answer.json()) == (200, expected)


@pytest.mark.parametrize(
    "name", ["none", "..", "%2e%2e", "..%2fused_cars", "used_cars%2f..", "é", "n" * 5000, "%00"]
)
async def test_what_is_not_published_is_not_found(serve, settings, record, name):
    async with serve(settings) as service:
        answer = await service.post(f"/models/{name}/predict", json=record)
        assert answer.status_code == 404
