"""Three models under load while one of them is reloaded fifty times: none fails, mixes or grows."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from ml_constants import RECORD, publish_constant

from aimq.settings import Settings

OLD, NEW = "20260101T000000Z", "20260102T000000Z"
VALUES = {
    ("red", OLD): 10.0,
    ("green", OLD): 20.0,
    ("blue", OLD): 30.0,
    ("blue", NEW): 31.0,
}  # fmt: skip
RELOADS = 50
#: Numbers in each model: 2 MB, so that what is not freed shows.
WEIGHTS = 512 * 1024
#: Growth of the process over the last forty reloads, in MB. Keeping what they load would be 80.
MOST_GROWTH = 20


@pytest.fixture
def models(tmp_path) -> Path:
    folder = tmp_path / "models"
    for (name, version), value in VALUES.items():
        publish_constant(folder, name, version, value, WEIGHTS)
    return folder


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def ask(service, name: str, *, many: bool) -> set[tuple[str, float]]:
    """Return the versions and values of an answer."""
    body = [RECORD] * 3 if many else RECORD
    answer = await service.post(f"/models/{name}/predict", json=body)
    assert answer.status_code == 200, answer.text
    items = answer.json() if many else [answer.json()]
    return {(item["model_version"], item["predicted_price"]) for item in items}


async def test_three_models_answer_their_own_while_one_is_reloaded_fifty_times(serve, models):
    settings = Settings(models_dir=models, model_name="red", rate_limit="1000000/second")
    stop = asyncio.Event()
    seen: dict[str, list[set[tuple[str, float]]]] = {"red": [], "green": [], "blue": []}

    async def client(service, name: str, *, many: bool) -> None:
        while not stop.is_set():
            seen[name].append(await ask(service, name, many=many))
            await asyncio.sleep(0.005)

    async with serve(settings) as service:
        clients = [
            asyncio.create_task(client(service, name, many=many))
            for name in seen
            for many in (False, True)
        ]
        resident = []
        for count in range(RELOADS):
            version = NEW if count % 2 else OLD
            answer = await service.post("/models/blue/reload", json={"version": version})
            assert (answer.status_code, answer.json()["version"]) == (200, version)
            resident.append(resident_mb())
        stop.set()
        await asyncio.gather(*clients)
    for name, answers in seen.items():
        expected = [{(version, VALUES[name, version])} for n, version in VALUES if n == name]
        assert all(answer in expected for answer in answers)
        assert all(each in answers for each in expected)
    assert max(resident[-5:]) - resident[9] < MOST_GROWTH, resident


async def test_models_over_the_bound_are_unloaded_and_come_back(serve, models, monkeypatch):
    monkeypatch.setattr("ml_service.deployment.MEMORY_FACTOR", 400)  # 800 MB each
    settings = Settings(models_dir=models, model_name="red", models_memory_mb=1700)
    async with serve(settings) as service:

        async def loaded() -> set[str]:
            body = (await service.get("/models")).json()
            return {entry["name"] for entry in body["models"] if entry["loaded"]}

        for name, staying in (("green", {"red", "green"}), ("blue", {"red", "blue"})) * 2:
            version = NEW if name == "blue" else OLD
            assert await ask(service, name, many=False) == {(version, VALUES[name, version])}
            assert await loaded() == staying


async def test_requests_for_other_models_do_not_wait_for_a_loading(serve, models, monkeypatch):
    from ml_service import model_folder  # noqa: PLC0415 # beside what it changes

    load, begun, go_on = model_folder.load_version, asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(models_dir, name, *args, **options):
        if name == "green":
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)
        return load(models_dir, name, *args, **options)

    monkeypatch.setattr(model_folder, "load_version", slow)
    settings = Settings(models_dir=models, model_name="red")
    async with serve(settings) as service:
        waiting = [asyncio.create_task(ask(service, "green", many=False)) for _ in range(5)]
        await begun.wait()
        for name in ("red", "blue"):
            assert await ask(service, name, many=False)
        assert not any(task.done() for task in waiting)
        go_on.set()
        assert await asyncio.gather(*waiting) == [{(OLD, 20.0)}] * 5


async def test_models_that_push_each_other_out_answer_all_the_same(serve, models):
    settings = Settings(
        models_dir=models, model_name="red", models_memory_mb=1, rate_limit="1000000/second"
    )

    async def client(service, name: str, version: str) -> None:
        for count in range(10):
            answer = await ask(service, name, many=bool(count % 2))
            assert answer == {(version, VALUES[name, version])}

    async with serve(settings) as service:
        pairs = (("red", OLD), ("green", OLD), ("blue", NEW))
        await asyncio.gather(*(client(service, *pair) for pair in pairs for _ in range(3)))
