"""Publishing, choosing, refusing and draining versions, without a failed or a mixed answer."""

from __future__ import annotations

import asyncio
import shutil
import weakref

import onnx
import pytest
from ml_published import publish_copy, replace_file, version_folder

from aimq import published
from aimq.settings import Settings
from ml_service import catalogue

LATER = "29990101T000000Z"


@pytest.fixture(autouse=True)
def _watch_often(monkeypatch):
    monkeypatch.setattr(catalogue, "WATCH_SECONDS", 0.02)


@pytest.fixture
def settings(models):
    return Settings(models_dir=models, rate_limit="1000000/second")


async def version_served(service) -> str:
    return (await service.get("/models")).json()["version"]


async def until_served(service, version: str) -> None:
    async with asyncio.timeout(30):
        while await version_served(service) != version:
            await asyncio.sleep(0.01)


async def test_models_tells_what_is_served_and_where_it_comes_from(serve, settings, models):
    async with serve(settings) as service:
        body = (await service.get("/models")).json()
    manifest = published.read_manifest(version_folder(models))
    assert (body["name"], body["version"]) == ("used_cars", manifest.version)
    assert body["data"] == manifest.data
    assert body["schema"]["group"]["values"] == ["A", "B", "C"]
    for group in "ABC":
        entry = body["groups"][group]
        assert (entry["served"], entry["error"]) == (True, None)
        assert entry["models"]["onnx"]["sha256"] == manifest.files[f"{group}.onnx"]
        assert entry["models"]["pickle"]["inline_rows"] == 0
        assert entry["metrics"]


async def test_it_starts_without_a_model_says_so_and_picks_one_up(
    serve, settings, models, tmp_path, record
):
    away = tmp_path / "away"
    (models / "used_cars").rename(away)
    async with serve(settings, ready=False) as service:
        async with asyncio.timeout(10):
            while "aimq train" not in (await service.get("/health/ready")).text:
                await asyncio.sleep(0.01)
        answer = await service.post("/predict/onnx", json=record)
        assert answer.status_code == 503
        assert "aimq train" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) >= 1
        assert (await service.get("/models")).status_code == 503
        assert (await service.post("/models/reload")).status_code == 404
        assert (await service.get("/openapi.json")).status_code == 200
        away.rename(models / "used_cars")
        await service.ready()
        assert (await service.post("/predict/onnx", json=record)).status_code == 200


@pytest.mark.parametrize("damage", ["truncated", "other digest", "absent", "other inputs"])
async def test_a_group_with_a_bad_model_is_refused_and_the_others_are_served(
    serve, settings, models, records, damage
):
    folder = version_folder(models)
    file = folder / "B.onnx"
    content = file.read_bytes()
    if damage == "truncated":
        replace_file(folder, "B.onnx", content[: len(content) // 2])
    elif damage == "other digest":
        file.write_bytes(content + b"\0")
    elif damage == "absent":
        file.unlink()
    else:
        model = onnx.load_from_string(content)
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
        replace_file(folder, "B.onnx", model.SerializeToString())
    async with serve(settings) as service:
        groups = (await service.get("/models")).json()["groups"]
        assert [groups[group]["served"] for group in "ABC"] == [True, False, True]
        assert "B.onnx" in groups["B"]["error"]
        statuses = {}
        rows = records(40, seed=8)
        for row in rows:
            answer = await service.post("/predict/onnx", json=row)
            statuses.setdefault(row["model_group"], set()).add(answer.status_code)
        assert statuses == {"A": {200}, "B": {422}, "C": {200}}
        wrong = next(row for row in rows if row["model_group"] == "B")
        body = (await service.post("/predict/onnx", json=wrong)).json()
        assert "B.onnx" in body["detail"]
        assert "A, C" in body["detail"]
        listed = (await service.post("/predict/onnx", json=rows)).json()
        assert ["error" in item for item in listed] == [row["model_group"] == "B" for row in rows]


async def test_a_pickle_that_was_changed_after_the_load_is_not_unpickled(
    serve, settings, models, record
):
    async with serve(settings) as service:
        path = version_folder(models) / f"{record['model_group']}.pkl"
        path.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
        answer = await service.post("/predict/pickle", json=record)
        assert answer.status_code == 500
        assert (await service.post("/predict/onnx", json=record)).status_code == 200


async def test_a_new_version_is_served_once_it_is_published(serve, settings, models, record):
    async with serve(settings) as service:
        publish_copy(models, LATER)
        await until_served(service, LATER)
        answer = await service.post("/predict/onnx", json=record)
        assert answer.json()["model_version"] == LATER


async def test_a_broken_version_is_refused_with_the_reason_and_the_old_stays(
    serve, settings, models, record
):
    async with serve(settings) as service:
        before = await version_served(service)
        folder = publish_copy(models, LATER, current=False)
        (folder / "schema.toml").write_text("nonsense")
        answer = await service.post("/models/reload", json={"version": LATER})
        assert answer.status_code == 409
        assert "schema.toml" in answer.json()["detail"]
        body = (await service.get("/models")).json()
        assert body["version"] == before
        assert "schema.toml" in body["refused"][LATER]
        assert (await service.post("/predict/onnx", json=record)).status_code == 200
        assert (await service.get("/health/ready")).status_code == 200


async def test_a_version_with_a_bad_group_is_refused_and_the_whole_one_stays(
    serve, settings, models, records
):
    rows = records(40, seed=8)
    async with serve(settings) as service:
        before = await version_served(service)
        folder = publish_copy(models, LATER, current=False)
        (folder / "B.onnx").write_bytes(b"damaged")
        answer = await service.post("/models/reload", json={"version": LATER})
        assert answer.status_code == 409
        assert "B.onnx" in answer.json()["detail"]
        body = (await service.get("/models")).json()
        assert body["version"] == before
        assert "B.onnx" in body["refused"][LATER]
        answers = (await service.post("/predict/onnx", json=rows)).json()
        assert [answer.get("model_version") for answer in answers] == [before] * len(rows)
    assert published.current_version(models, "used_cars") == before


async def test_a_version_with_a_bad_group_that_is_published_is_not_switched_to(
    serve, settings, models
):
    async with serve(settings) as service:
        before = await version_served(service)
        folder = publish_copy(models, LATER, current=False)
        (folder / "B.onnx").write_bytes(b"damaged")
        (models / "used_cars" / published.CURRENT).write_text(LATER)
        async with asyncio.timeout(30):
            while LATER not in (await service.get("/models")).json()["refused"]:
                await asyncio.sleep(0.01)
        assert await version_served(service) == before


@pytest.mark.parametrize("damaged", ["B.onnx", "schema.toml"])
async def test_at_the_start_an_older_whole_version_is_preferred_to_a_damaged_one(
    serve, settings, models, damaged
):
    before = version_folder(models).name
    folder = publish_copy(models, LATER)
    (folder / damaged).write_bytes(b"damaged")
    async with serve(settings) as service:
        body = (await service.get("/models")).json()
        assert body["version"] == before
        assert damaged in body["refused"][LATER]


async def test_a_version_with_a_bad_group_gives_way_to_the_next_one(serve, settings, models):
    (version_folder(models) / "B.onnx").unlink()
    async with serve(settings) as service:
        folder = publish_copy(models, LATER)
        await until_served(service, LATER)
        groups = (await service.get("/models")).json()["groups"]
        assert [groups[group]["served"] for group in "ABC"] == [True, False, True]
        assert not (folder / "B.onnx").exists()


async def test_a_roll_back_is_remembered(serve, settings, models):
    old = version_folder(models).name
    publish_copy(models, LATER)
    async with serve(settings) as service:
        assert await version_served(service) == LATER
        answer = await service.post("/models/reload", json={"version": old})
        assert answer.json()["version"] == old
        assert published.current_version(models, "used_cars") == old
    async with serve(settings) as service:
        assert await version_served(service) == old


async def test_an_empty_version_is_none_that_is_there_and_the_choice_is_kept(
    serve, settings, models
):
    chosen = (models / "used_cars" / published.CURRENT).read_text()
    async with serve(settings) as service:
        answer = await service.post("/models/reload", json={"version": ""})
    assert answer.status_code == 404
    assert (models / "used_cars" / published.CURRENT).read_text() == chosen


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"version": "nope"}', 404),
        (b'{"version": "../../etc"}', 404),
        (b'{"version": 3}', 400),
        (b"[", 400),
        (b'{"other": 1}', 400),
        (b" " * 5000, 413),
    ],
)
async def test_a_reload_of_what_is_not_there_is_refused(serve, settings, body, status):
    async with serve(settings) as service:
        before = await version_served(service)
        answer = await service.post("/models/reload", content=body)
        assert answer.status_code == status
        assert await version_served(service) == before


@pytest.mark.parametrize("way", ["onnx", "pickle"])
async def test_no_request_fails_or_mixes_versions_while_versions_change_under_load(
    serve, settings, models, records, way
):
    old = version_folder(models).name
    publish_copy(models, LATER, current=False)
    rows = records(20, seed=9)
    stop = asyncio.Event()
    seen: list[tuple[str, ...]] = []

    async def client(service, number: int) -> None:
        while not stop.is_set():
            body = rows if number % 2 else rows[number]
            answer = await service.post(f"/predict/{way}", json=body)
            assert answer.status_code == 200, answer.text
            items = answer.json() if number % 2 else [answer.json()]
            seen.append(tuple({item["model_version"] for item in items}))
            await asyncio.sleep(0)

    async with serve(settings) as service:
        clients = [asyncio.create_task(client(service, number)) for number in range(6)]
        for version in (LATER, old, LATER, old, LATER):
            answer = await service.post("/models/reload", json={"version": version})
            assert answer.status_code == 200
            assert answer.json()["version"] == version
            await asyncio.sleep(0.02)
        stop.set()
        await asyncio.gather(*clients)
    assert {len(versions) for versions in seen} == {1}
    assert {versions[0] for versions in seen} == {old, LATER}


async def test_a_version_that_is_no_longer_served_leaves_the_memory(
    serve, settings, models, record
):
    async with serve(settings) as service:
        model = service.app.catalogue.default.current.model("onnx", "A").model
        old = weakref.ref(model)
        del model
        publish_copy(models, LATER)
        await until_served(service, LATER)
        assert old() is None


async def test_a_version_that_is_deleted_while_it_is_served_goes_on_answering(
    serve, settings, models, record
):
    async with serve(settings) as service:
        shutil.rmtree(version_folder(models))
        assert (await service.post("/predict/onnx", json=record)).status_code == 200
        assert (await service.get("/health/ready")).status_code == 200
