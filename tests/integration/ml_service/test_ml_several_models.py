"""Several models in one service: found by name, loaded on demand, none in another's way."""

from __future__ import annotations

import shutil

import jsonschema
import msgspec
import pytest

from aimq import published
from aimq.settings import Settings
from ml_service import catalogue


@pytest.fixture(autouse=True)
def _watch_often(monkeypatch):
    monkeypatch.setattr(catalogue, "WATCH_SECONDS", 0.02)


def publish_as(models, name: str) -> None:
    """Publish the trained model under another name, too."""
    shutil.copytree(models / "used_cars", models / name)
    for folder in (models / name).glob("[0-9]*"):
        manifest = msgspec.structs.replace(published.read_manifest(folder), name=name)
        (folder / published.MANIFEST).write_bytes(msgspec.json.encode(manifest))


@pytest.fixture
def settings(models):
    return Settings(models_dir=models, rate_limit="1000000/second")


async def test_a_model_is_loaded_when_it_is_asked_for_by_name(serve, settings, models, record):
    publish_as(models, "others")
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


async def listed(service) -> dict[str, dict]:
    return {entry["name"]: entry for entry in (await service.get("/models")).json()["models"]}


async def test_the_list_describes_models_that_are_not_loaded(serve, settings, models, record):
    publish_as(models, "others")
    async with serve(settings) as service:
        entries = await listed(service)
        assert list(entries) == ["used_cars", "others"]
        default, other = entries["used_cars"], entries["others"]
        assert (default["loaded"], default["default"]) == (True, True)
        assert (other["loaded"], other["default"]) == (False, False)
        told = {
            "version", "versions", "canary", "task", "prediction", "columns", "required", "scores",
        }  # fmt: skip
        assert {key: other[key] for key in told} == {key: default[key] for key in told}
        assert set(other["scores"]["A"]) >= {"r2", "mae"}
        await service.post("/models/others/predict", json=record)
        assert (await listed(service))["others"]["loaded"]


async def test_without_the_default_another_model_makes_the_service_ready(serve, settings, models):
    (models / "used_cars").rename(models / "others")
    async with serve(settings) as service:
        body = (await service.get("/models")).json()
        assert [entry["name"] for entry in body["models"]] == ["others"]
        assert "groups" not in body
        assert (await service.get("/v2/health/ready")).status_code == 200


async def test_the_schema_of_a_model_describes_its_records_and_answers(serve, settings, record):
    async with serve(settings) as service:
        body = (await service.get("/models/used_cars/schema")).json()
        jsonschema.validate(record, body["record"])
        answer = await service.post("/models/used_cars/predict", json=record)
        jsonschema.validate(answer.json(), body["answer"])
        assert body["schema"]["name"] == "used_cars"
