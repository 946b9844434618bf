"""The interface as a process of its own: WebSockets, signals, and starting with nothing there."""

import asyncio
import json
import socket
import subprocess
import sys

import httpx
import pytest
import websockets

from aimq.jobs.job import Job
from aimq.messages import Kind
from tests.integration.interface.conftest import Process, finish, upload
from tests.integration.interface.stub_ml import PREDICTION
from tests.servers.redis import RedisServer
from tests.system import PATIENCE, environment


async def test_events_come_at_once_and_at_every_change_and_end_with_a_final_status(
    process, store, files
):
    async with httpx.AsyncClient(base_url=process.url) as client:
        job_id = (await upload(client)).json()["job_id"]
    async with process.events(job_id) as socket_:
        assert json.loads(await socket_.recv())["status"] == "queued"
        (claim,) = store.claim([job_id], "test", 30.0)
        while (state := json.loads(await socket_.recv()))["status"] == "queued":
            continue  # an earlier change may be told again
        assert state["status"] == "processing"
        assert store.progress(claim, rows_total=10, rows_done=4, rows_failed=0)
        while (state := json.loads(await socket_.recv()))["rows_done"] != 4:
            continue
        store.cancel(job_id)
        states = [json.loads(text) async for text in socket_]
        assert states[-1]["status"] == "cancelled"
        assert socket_.close_code == 1000


async def test_events_of_a_finished_job_are_its_last_state(process, store, files):
    (job,) = store.create([Job(kind=Kind.SPREADSHEET)])
    finish(store, files, job.job_id)

    async with process.events(job.job_id) as socket_:
        assert [json.loads(text)["status"] async for text in socket_] == ["done"]


async def test_events_of_an_unknown_job_are_not_found(process):
    with pytest.raises(websockets.InvalidStatus) as caught:
        await process.events("0" * 32).__aenter__()
    assert caught.value.response.status_code == 404


async def test_two_hundred_watchers_all_see_the_end(process, store):
    (job,) = store.create([Job(kind=Kind.SPREADSHEET)])

    async def last_status():
        async with process.events(job.job_id) as socket_:
            await socket_.recv()
            watching.release()
            return [json.loads(text)["status"] async for text in socket_][-1]

    watching = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(last_status()) for _ in range(200)]
    for _ in tasks:
        await watching.acquire()
    await asyncio.to_thread(store.cancel, job.job_id)

    assert set(await asyncio.gather(*tasks)) == {"cancelled"}


async def test_a_watcher_that_vanishes_is_forgotten(process, store):
    (job,) = store.create([Job(kind=Kind.SPREADSHEET)])
    socket_ = await process.events(job.job_id).__aenter__()
    await socket_.recv()
    socket_.transport.abort()

    async with httpx.AsyncClient(base_url=process.url) as client:
        while "aimq_event_watchers 0.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.02)


async def test_sigterm_finishes_requests_closes_sockets_and_exits_0(process, store, ml):
    (job,) = store.create([Job(kind=Kind.SPREADSHEET)])
    async with process.events(job.job_id) as socket_:
        await socket_.recv()
        assert await asyncio.to_thread(process.stop) == 0
        await socket_.wait_closed()  # the sweep may have told of a change before it
    assert socket_.close_code in {1001, 1012}


def test_it_starts_with_broker_and_ml_service_away(settings, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:  # listens, and never says a word
        port = taken.getsockname()[1]
        environ = environment(settings.data_dir, tmp_path, AIMQ_ML_URL=f"http://127.0.0.1:{port}")
        process = Process(environ)
        content = {"file": ("cars.xlsx", b"%PDF")}
        assert httpx.post(f"{process.url}/upload", files=content).status_code == 415
        assert process.stop() == 0


@pytest.mark.redis
def test_it_starts_and_predicts_with_the_store_away_and_takes_uploads_once_it_is_there(
    settings, tmp_path
):
    redis = RedisServer()
    environ = environment(settings.data_dir, tmp_path, AIMQ_ML_URL=settings.ml_url)
    process = Process({**environ, "AIMQ_STORE_URL": redis.url})
    try:
        with httpx.Client(base_url=process.url) as client:
            assert client.post("/predict", content=b"{}").json() == PREDICTION
            assert client.get("/factorial?no=5").status_code == 503
            assert "redis" in client.get("/health/ready").json()["store"].lower()
            redis.start()
            while client.get("/factorial?no=5").status_code != 202:
                continue
            assert client.get("/health/ready").json()["store"] == "up"
        assert process.stop() == 0
    finally:
        redis.close()


def test_a_taken_port_is_one_line_that_says_what_to_set(settings, tmp_path):
    environ = environment(settings.data_dir, tmp_path)
    with socket.create_server(("127.0.0.1", int(environ["AIMQ_INTERFACE_PORT"]))):
        ended = subprocess.run(
            [sys.executable, "-m", "aimq", "interface"],
            env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    assert ended.returncode == 2
    assert "AIMQ_INTERFACE_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_body_refused_early_still_gets_its_answer(process):
    """The client is told at once, and what it goes on sending is dropped."""
    host, port = process.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(
            b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        assert client.recv(64).startswith(b"HTTP/1.1 413")
