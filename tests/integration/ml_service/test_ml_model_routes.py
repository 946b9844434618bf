"""``/models/{name}/…``: versions switched, rolled back and tried as canaries; reports; refusals."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter

import msgspec
import pytest
from ml_constants import RECORD, publish_constant

from aimq import published
from aimq.settings import Settings
from ml_service import catalogue

VERSIONS = ("20260101T000000Z", "20260102T000000Z", "20260103T000000Z")
OLDEST, OLD, NEW = VERSIONS


@pytest.fixture(autouse=True)
def _watch_often(monkeypatch):
    monkeypatch.setattr(catalogue, "WATCH_SECONDS", 0.02)


@pytest.fixture
def models(tmp_path):
    """A default model, and three versions of another, whose answers are 1, 2 and 3."""
    folder = tmp_path / "models"
    publish_constant(folder, "red", OLD, 10.0)
    for value, version in enumerate(VERSIONS, start=1):
        publish_constant(folder, "blue", version, value)
    return folder


@pytest.fixture
def settings(models):
    return Settings(models_dir=models, model_name="red", rate_limit="1000000/second")


@pytest.fixture
async def service(serve, settings):
    async with serve(settings) as service:
        yield service


async def entry(service, name: str = "blue") -> dict:
    entries = (await service.get("/models")).json()["models"]
    return next(each for each in entries if each["name"] == name)


async def versions_of_single_records(service, count: int = 100) -> Counter[str]:
    """Return how often each version answered; its answer is its own."""
    seen: Counter[str] = Counter()
    for _ in range(count):
        answer = (await service.post("/models/blue/predict", json=RECORD)).json()
        version = answer["model_version"]
        assert answer["predicted_price"] == VERSIONS.index(version) + 1
        seen[version] += 1
    return seen


async def test_a_model_is_rolled_back_version_by_version(service, models):
    assert (await versions_of_single_records(service, 1)) == {NEW: 1}
    for version in (OLD, OLDEST):
        answer = await service.post("/models/blue/rollback")
        assert (answer.status_code, answer.json()["version"]) == (200, version)
        assert published.current_version(models, "blue") == version
    answer = await service.post("/models/blue/rollback")
    assert (answer.status_code, OLDEST in answer.json()["detail"]) == (409, True)
    assert (await versions_of_single_records(service, 1)) == {OLDEST: 1}
    assert (await entry(service, "red"))["version"] == OLD


async def test_a_roll_back_of_what_is_not_loaded_keeps_the_choice(service, models):
    assert not (await entry(service))["loaded"]
    assert (await service.post("/models/blue/rollback")).status_code == 200
    assert (await entry(service))["version"] == OLD


async def test_a_roll_back_to_a_damaged_version_is_refused(service, models):
    (models / "blue" / OLD / "all.onnx").write_bytes(b"damaged")
    answer = await service.post("/models/blue/rollback")
    assert (answer.status_code, "all.onnx" in answer.json()["detail"]) == (409, True)
    assert (await versions_of_single_records(service, 1)) == {NEW: 1}


async def test_a_canary_answers_single_records_only_and_survives_a_restart(serve, settings):
    async with serve(settings) as service:
        await service.post("/models/blue/reload", json={"version": OLD})
        body = {"version": NEW, "percent": 50}
        answer = await service.post("/models/blue/canary", json=body)
        assert (answer.status_code, answer.json()["canary"]) == (200, body)
    async with serve(settings) as service:
        seen = await versions_of_single_records(service)
        assert (set(seen), seen.total()) == ({OLD, NEW}, 100)
        for _ in range(20):
            items = (await service.post("/models/blue/predict", json=[RECORD] * 2)).json()
            assert [item["model_version"] for item in items] == [OLD, OLD]
        path = f"/v2/models/blue/versions/{NEW}/ready"
        assert (await service.get(path)).status_code == 200
        answer = await service.post("/models/blue/canary", json={"percent": 0})
        assert (answer.status_code, answer.json()["canary"]) == (200, None)
        assert await versions_of_single_records(service) == {OLD: 100}


async def test_using_the_canary_ends_it(service):
    await service.post("/models/blue/reload", json={"version": OLD})
    await service.post("/models/blue/canary", json={"version": NEW, "percent": 100})
    answer = await service.post("/models/blue/reload", json={"version": NEW})
    assert answer.json()["canary"] is None
    await service.post("/models/blue/reload", json={"version": OLD})
    assert await versions_of_single_records(service) == {OLD: 100}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"version": "none", "percent": 10}, 404, OLDEST),
        ({"version": "../red", "percent": 10}, 404, OLDEST),
        ({"version": NEW, "percent": 10}, 409, "current version"),
        ({"version": OLDEST, "percent": 10}, 409, "all.onnx"),
        ({"version": OLD, "percent": 101}, 422, "percent"),
        ({"version": OLD, "percent": -1}, 422, "percent"),
        ({"percent": 10}, 422, "version"),
        ({"version": OLD}, 400, "percent"),
        ({"version": OLD, "percent": "10"}, 400, "percent"),
        ([], 400, "percent"),
    ],
)
async def test_a_canary_that_makes_no_sense_is_refused(service, models, body, status, says):
    (models / "blue" / OLDEST / "all.onnx").write_bytes(b"damaged")
    answer = await service.post("/models/blue/canary", json=body)
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
    assert not (models / "blue" / "canary").exists()
    assert await versions_of_single_records(service, 10) == {NEW: 10}


@pytest.mark.parametrize("path", ["reload", "rollback", "canary", "predict"])
async def test_an_unknown_model_is_not_found_and_the_others_are_listed(service, path):
    answer = await service.post(f"/models/none/{path}", json={"percent": 0})
    assert answer.status_code == 404
    assert "red, blue" in answer.json()["detail"]


async def test_a_model_that_cannot_be_loaded_says_why_and_the_others_answer(service, models):
    for version in VERSIONS:
        (models / "blue" / version / "all.onnx").write_bytes(b"damaged")
    for answer in (
        await service.post("/models/blue/predict", json=RECORD),
        await service.get("/models/blue"),
        await service.get("/v2/models/blue"),
    ):
        assert (answer.status_code, "all.onnx" in answer.text) == (503, True)
    told = await entry(service)
    assert (told["loaded"], told["version"], "all.onnx" in told["error"]) == (False, None, True)
    answer = await service.post("/models/red/predict", json=RECORD)
    assert answer.json()["predicted_price"] == 10.0


async def test_a_default_that_cannot_be_loaded_leaves_the_others_ready(serve, settings, models):
    (models / "red" / OLD / "all.onnx").write_bytes(b"damaged")
    async with serve(settings) as service:
        answer = await service.post("/predict/onnx", json=RECORD)
        assert (answer.status_code, "all.onnx" in answer.json()["detail"]) == (503, True)
        told = await entry(service, "red")
        assert (told["default"], told["loaded"], told["version"]) == (True, False, None)
        assert await versions_of_single_records(service, 1) == {NEW: 1}


async def test_a_model_whose_schema_is_damaged_is_listed_with_the_reason(service, models):
    (models / "blue" / NEW / "schema.toml").write_text("nonsense")
    told = await entry(service)
    assert ("schema.toml" in told["error"], told["columns"]) == (True, [])
    assert (await service.get("/models/blue/schema")).status_code == 503


async def test_models_come_and_go_while_the_service_runs(service, models):
    publish_constant(models, "green", NEW, 5.0)
    async with asyncio.timeout(10):
        while (answer := await service.post("/models/green/predict", json=RECORD)).is_error:
            await asyncio.sleep(0.01)
        assert answer.json() == {"predicted_price": 5.0, "model_version": NEW}
        shutil.rmtree(models / "green")
        while (await service.get("/models/green/schema")).status_code != 404:
            await asyncio.sleep(0.01)


async def test_a_report_is_a_page_that_loads_and_runs_nothing(service, models):
    path = "/models/blue/report"
    assert (await service.get(path)).status_code == 404
    folder = models / "blue" / "20260104T000000Z"
    publish_constant(models, "blue", folder.name, 4.0)
    (folder / "report.html").write_text("<p>Report</p>")
    manifest = published.read_manifest(folder)
    files = {**manifest.files, "report.html": published.sha256(folder / "report.html")}
    changed = msgspec.structs.replace(manifest, files=files)
    (folder / published.MANIFEST).write_bytes(msgspec.json.encode(changed))
    async with asyncio.timeout(10):
        while (answer := await service.get(path)).status_code != 200:
            await asyncio.sleep(0.01)
    assert (answer.text, answer.headers["content-type"]) == (
        "<p>Report</p>", "text/html; charset=utf-8",
    )  # fmt: skip
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert answer.headers["content-security-policy"] == policy
    assert (await entry(service))["report"] is True
    (folder / "report.html").write_text("<p>another</p>")
    assert (await service.get(path)).status_code == 404


async def test_each_model_is_one_of_the_inference_protocol(service):
    for name, value in (("red", 10.0), ("blue", 3.0)):
        metadata = (await service.get(f"/v2/models/{name}")).json()
        assert metadata["name"] == name
        inputs = [
            {"name": field, "shape": [1], "datatype": "INT64", "data": [number]}
            for field, number in RECORD.items()
        ]
        answer = await service.post(f"/v2/models/{name}/infer", json={"inputs": inputs})
        assert answer.json()["outputs"][0]["data"] == [value]


async def test_rows_are_counted_by_model(service):
    for name in ("red", "blue"):
        await service.post(f"/models/{name}/predict", json=[RECORD] * 2)
    text = (await service.get("/metrics")).text
    for name in ("red", "blue"):
        labels = f'{{endpoint="onnx",model="{name}",runtime="onnxruntime"}}'
        assert f"aimq_ml_rows_total{labels} 2.0" in text
