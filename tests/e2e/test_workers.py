"""Several processes of each HTTP service on one port, as `aimq up` starts them."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.system import PATIENCE, System, environment, running

WORKERS = 3
RECORD = {
    "model_group": "A", "model": 180, "kilometers": 5000, "fuel_type": "Diesel",
    "gear_type": "Manual", "vehicle_type": "Sedan Car", "age_in_months": 12, "color": "Black",
    "line": "Sportline", "doors": "4 to 5", "seats": "1 to 3", "climate": "Air Conditioning",
}  # fmt: skip


@pytest.fixture(scope="module")
def system(trained_models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    models = folder / "models"
    shutil.copytree(trained_models, models)
    environ = environment(folder / "data", models, AIMQ_WORKERS=str(WORKERS))
    with running(environ) as system:
        yield system


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def workers(system: System, service: str) -> list[int]:
    """Return the worker processes of a service."""
    for child in children(system.process.pid):
        command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        if service in command:
            return children(child)
    return []


def counted(text: str, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def answered_by_all(url: str, requests: int) -> None:
    """Send requests over connections of their own, so that every worker gets some."""

    async def one() -> None:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            assert (await client.post(f"{url}/predict/onnx", json=RECORD)).status_code == 200

    for _ in range(requests // 10):
        await asyncio.gather(*(one() for _ in range(10)))


def test_each_service_has_its_workers(system):
    assert len(workers(system, "interface")) == WORKERS
    assert len(workers(system, "ml-service")) == WORKERS


async def test_the_metrics_of_all_workers_are_summed(system):
    def predictions() -> float:
        text = httpx.get(f"{system.ml_url}/metrics", timeout=PATIENCE).text
        return counted(text, "aimq_ml_requests_total", route="/predict/onnx", status="200")

    before = predictions()
    await answered_by_all(system.ml_url, 60)
    assert {predictions() for _ in range(5)} == {before + 60}


def test_one_reload_reaches_every_worker(system):
    models = Path(system.environ["AIMQ_MODELS_DIR"]) / "used_cars"
    first = (models / "current").read_text().strip()
    shutil.copytree(models / first, models / "20990101T000000Z")
    manifest = models / "20990101T000000Z" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(first, "20990101T000000Z"))
    for version in ("20990101T000000Z", first):
        answer = httpx.post(
            f"{system.ml_url}/models/reload", json={"version": version}, timeout=PATIENCE
        )
        assert answer.status_code == 200, answer.text
        served = {
            httpx.get(f"{system.ml_url}/models", timeout=PATIENCE).json()["version"]
            for _ in range(10 * WORKERS)
        }
        assert served == {version}


def test_a_roll_back_and_a_canary_reach_every_worker(system):
    home = Path(system.environ["AIMQ_MODELS_DIR"]) / "used_cars"
    versions = sorted(path.parent.name for path in home.glob("[!.]*/manifest.json"))
    url = f"{system.ml_url}/models/used_cars"
    newest = {"version": versions[-1]}
    with httpx.Client(timeout=PATIENCE) as client:
        assert client.post(f"{url}/reload", json=newest).status_code == 200
        assert client.post(f"{url}/rollback").json()["version"] == versions[-2]
        assert client.post(f"{url}/canary", json={**newest, "percent": 7}).status_code == 200
    looks = [httpx.get(url, timeout=PATIENCE).json() for _ in range(10 * WORKERS)]
    assert {look["version"] for look in looks} == {versions[-2]}
    assert {look["canary"]["percent"] for look in looks} == {7}
    assert (home / "current").read_text().strip() == versions[-2]


def test_a_refused_reload_is_told(system):
    answer = httpx.post(
        f"{system.ml_url}/models/reload", json={"version": "20000101T000000Z"}, timeout=PATIENCE
    )
    assert answer.status_code == 404
    assert answer.json()["status"] == 404


def test_a_worker_that_dies_is_replaced_while_the_others_answer(system):
    before = workers(system, "interface")
    os.kill(before[0], 9)
    gone = {before[0]}
    while len(now := set(workers(system, "interface")) - gone) < WORKERS:
        answer = httpx.post(f"{system.url}/predict", json=RECORD, timeout=PATIENCE)
        assert answer.status_code == 200
    assert len(now - set(before)) == 1


def test_uploads_and_tasks_work_whichever_worker_is_asked(system):
    table = Path("assets/sample_files/100_rows.xlsx")
    done = system.aimq("upload", str(table), "-o", str(Path(system.environ["AIMQ_DATA_DIR"]) / "r"))
    assert done.returncode == 0, done.stderr
