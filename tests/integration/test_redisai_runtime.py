"""The RedisAI runtime: what it leaves on the server, and what it makes of a server's troubles."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from dataclasses import replace

import numpy as np
import pytest
import redis
from redisai_server.onnx_models import linear, publish
from redisai_server.process import RedisAiServer
from redisai_server.settling import callbacks_done

from aimq.errors import MlUnavailable, ModelMissing, ModelRefused, TimedOut
from aimq.settings import Settings
from ml_service.runtimes.redisai import runtime as redisai
from ml_service.runtimes.redisai.commands import PREFIX, model_key, model_tag
from ml_service.runtimes.redisai.runtime import LEASE_SECONDS, RedisAiRuntime
from tests.servers.tls import TlsFront, certificate

pytest_plugins = ("redisai_server.fixtures",)

REAL = os.environ.get("AIMQ_TEST_REDISAI_URL", "")
ROW = np.ones((1, 4), np.float32)


@pytest.fixture(params=["stand-in", "real"])
def url(request):
    """An address without models of ours, of the stand-in and of a real server if there is one."""
    if request.param == "stand-in":
        address = request.getfixturevalue("redisai_server").url
    elif REAL:
        address = REAL
    else:
        pytest.skip("AIMQ_TEST_REDISAI_URL names no server")
    with redis.Redis.from_url(address) as client:
        for key in client.scan_iter(PREFIX + "*"):
            client.delete(key)
    return address


@pytest.fixture
def client(url):
    with redis.Redis.from_url(url) as client:
        yield client


@pytest.fixture
async def connect():
    """Return a function that makes a runtime; each is closed after the test."""
    made = []

    def _connect(url: str, **settings: float) -> RedisAiRuntime:
        made.append(RedisAiRuntime(Settings(redisai_url=url, **settings)))
        return made[-1]

    yield _connect
    for runtime in made:
        runtime.close()
    await callbacks_done()


@pytest.fixture
def runtime(url, connect):
    return connect(url, redisai_connections=4)


@pytest.fixture
def own_server():
    """A server that a test may freeze or kill."""
    with RedisAiServer() as server:
        yield server


def calls(client: redis.Redis, command: str) -> int:
    return client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)


async def test_predictions_leave_nothing_in_the_keyspace(runtime, client, forests):
    file = forests["A"].file
    loaded = runtime.load(file)
    before = set(client.scan_iter("*"))
    for rows in (1, 7, 5000):
        loaded.predict(np.ones((rows, 4), np.float32))
        await loaded.predict_async(np.ones((rows, 4), np.float32))
    assert set(client.scan_iter("*")) == before
    assert model_key(file).encode() in before


async def test_a_prediction_is_one_round_trip(runtime, client, forests):
    loaded = runtime.load(forests["A"].file)
    watched = (
        "ai.dagexecute_ro",
        "ai.tensorset",
        "ai.modelexecute",
        "ai.modelstore",
        "ai.tensorget",
    )
    before = [calls(client, command) for command in watched]
    for _ in range(5):
        loaded.predict(ROW)
        await loaded.predict_async(ROW)
    after = [calls(client, command) for command in watched]
    assert [b - a for a, b in zip(before, after, strict=True)] == [10, 0, 0, 0, 0]


def test_a_model_is_stored_once_however_often_it_is_loaded(runtime, client, forests, url, connect):
    before = calls(client, "ai.modelstore")
    runtime.load(forests["A"].file)
    runtime.load(forests["A"].file)
    other = connect(url)
    other.load(forests["A"].file)
    assert calls(client, "ai.modelstore") - before == 1


def test_another_digest_is_stored_anew_and_the_old_one_goes_on(runtime, client, tmp_path):
    before = calls(client, "ai.modelstore")
    files = [
        publish(
            tmp_path / str(factor),
            linear(np.full((4, 1), factor, np.float32)),
            group="A",
            features=4,
            version="same",
        )
        for factor in (1, 2)
    ]
    old, new = (runtime.load(file) for file in files)
    assert calls(client, "ai.modelstore") - before == 2
    assert (old.predict(ROW).values, new.predict(ROW).values) == (4, 8)


def test_a_key_that_carries_another_tag_is_stored_over(runtime, client, tmp_path, forests):
    file = forests["A"].file
    foreign = linear(np.ones((4, 1), np.float32))
    client.execute_command(
        "AI.MODELSTORE", model_key(file), "ONNX", "CPU", "TAG", "foreign", "BLOB", foreign
    )
    loaded = runtime.load(file)
    np.testing.assert_allclose(loaded.predict(ROW).values, forests["A"].expected(ROW), rtol=1e-5)
    assert [model_key(file).encode(), model_tag(file).encode()] in client.execute_command(
        "AI._MODELSCAN"
    )


def test_a_model_nobody_keeps_leaves_by_itself(runtime, client, forests):
    file = forests["A"].file
    runtime.load(file)
    assert 0 < client.ttl(model_key(file)) <= LEASE_SECONDS
    client.expire(model_key(file), 5)
    runtime.load(file)
    assert client.ttl(model_key(file)) > 5


def test_a_model_that_is_gone_is_missing_until_it_is_loaded_again(runtime, client, forests):
    loaded = runtime.load(forests["A"].file)
    client.delete(model_key(forests["A"].file))
    before = calls(client, "ai.modelstore")
    with pytest.raises(ModelMissing):
        loaded.predict(ROW)
    assert calls(client, "ai.modelstore") == before
    runtime.load(forests["A"].file)
    np.testing.assert_allclose(loaded.predict(ROW).values, forests["A"].expected(ROW), rtol=1e-5)


async def test_on_the_event_loop_too(runtime, client, forests):
    loaded = runtime.load(forests["A"].file)
    client.delete(model_key(forests["A"].file))
    with pytest.raises(ModelMissing):
        await loaded.predict_async(ROW)
    runtime.load(forests["A"].file)
    answer = (await loaded.predict_async(ROW)).values
    np.testing.assert_allclose(answer, forests["A"].expected(ROW), rtol=1e-5)


def test_nothing_is_stored_over_a_key_of_another_type(runtime, client, forests):
    client.set(model_key(forests["A"].file), "text")
    with pytest.raises(ModelRefused, match="WRONGTYPE"):
        runtime.load(forests["A"].file)
    assert client.ping()


def test_a_file_that_changed_since_it_was_checked_is_refused(runtime, client, forests):
    file = replace(forests["A"].file, sha256="0" * 64)
    with pytest.raises(ModelRefused, match="no longer the file"):
        runtime.load(file)
    assert client.exists(model_key(file)) == 0


def test_a_file_that_is_gone_is_refused(runtime, forests, tmp_path):
    file = replace(forests["A"].file, path=tmp_path / "none.onnx", sha256="1" * 64)
    with pytest.raises(ModelRefused, match="cannot be read"):
        runtime.load(file)


def test_a_model_for_a_newer_onnx_runtime_is_refused(redisai_server, tmp_path, connect):
    runtime = connect(redisai_server.url)
    content = linear(np.ones((4, 1), np.float32), ir=9, opset=19)
    file = publish(tmp_path, content, group="A", features=4, version="newer")
    with pytest.raises(ModelRefused, match="max supported IR version: 8"):
        runtime.load(file)


def test_a_model_larger_than_the_servers_chunk_is_stored_in_chunks(own_server, forests, connect):
    with redis.Redis.from_url(own_server.url) as client:
        client.execute_command("AI.CONFIG", "MODEL_CHUNK_SIZE", 1000)
        runtime = connect(own_server.url)
        file = forests["C"].file
        assert file.path.stat().st_size > 3000
        loaded = runtime.load(file)
        stored = client.execute_command("AI.MODELGET", model_key(file), "BLOB")
    assert stored == file.path.read_bytes()
    matrix = np.ones((2, 12), np.float32)
    np.testing.assert_allclose(
        loaded.predict(matrix).values, forests["C"].expected(matrix), rtol=1e-5
    )


async def test_it_authenticates(forests, connect):
    with RedisAiServer(password="secret") as server:
        runtime = connect(server.url)
        loaded = runtime.load(forests["A"].file)
        np.testing.assert_allclose(
            (await loaded.predict_async(ROW)).values, loaded.predict(ROW).values
        )
        stranger = connect(f"redis://127.0.0.1:{server.port}/0")
        with pytest.raises(MlUnavailable):
            stranger.load(forests["A"].file)


@pytest.mark.parametrize(
    ("host", "trusted", "said"),
    [
        ("127.0.0.1", True, None),
        ("localhost", True, "Hostname mismatch"),
        ("127.0.0.1", False, "CERTIFICATE_VERIFY_FAILED"),
    ],
)
async def test_tls_is_spoken_to_the_server_that_is_named_only(
    redisai_server, forests, connect, tmp_path, host, trusted, said
):
    chain, private = certificate(tmp_path, ipaddress.ip_address("127.0.0.1"))
    front = TlsFront(redisai_server.port, chain, private)
    authorities = f"?ssl_ca_certs={chain}" if trusted else ""
    runtime = connect(f"rediss://{host}:{front.port}/0{authorities}")
    try:
        if said is None:
            loaded = runtime.load(forests["A"].file)
            matrix = np.ones((5000, 4), np.float32)
            np.testing.assert_allclose(
                (await loaded.predict_async(matrix)).values, loaded.predict(matrix).values
            )
        else:
            with pytest.raises(MlUnavailable, match=said):
                runtime.load(forests["A"].file)
            with pytest.raises(MlUnavailable):
                await runtime.execute_async(["PING"])
    finally:
        runtime.close()
        await callbacks_done()
        front.close()


async def test_a_server_that_is_away_is_unavailable(own_server, forests, connect):
    runtime = connect(own_server.url)
    loaded = runtime.load(forests["A"].file)
    await loaded.predict_async(ROW)
    own_server.kill()
    with pytest.raises(MlUnavailable):
        loaded.predict(ROW)
    with pytest.raises(MlUnavailable):
        await loaded.predict_async(ROW)
    with pytest.raises(MlUnavailable):
        runtime.load(forests["B"].file)


async def test_a_connection_that_died_while_idle_is_replaced_unnoticed(
    own_server, forests, connect
):
    runtime = connect(own_server.url)
    loaded = runtime.load(forests["A"].file)
    await asyncio.gather(*(loaded.predict_async(ROW) for _ in range(3)))
    own_server.kill()
    own_server.start()
    runtime.load(forests["A"].file)
    answer = (await loaded.predict_async(ROW)).values
    np.testing.assert_allclose(answer, forests["A"].expected(ROW), rtol=1e-5)


async def test_a_server_that_does_not_answer_times_out_and_does_not_block_the_loop(
    own_server, forests, connect
):
    runtime = connect(own_server.url, redisai_timeout_seconds=0.2)
    loaded = runtime.load(forests["A"].file)
    own_server.freeze()
    with pytest.raises(TimedOut):
        loaded.predict(ROW)
    late = asyncio.create_task(loaded.predict_async(ROW))
    turns = 0
    while not late.done():
        await asyncio.sleep(0.001)
        turns += 1
    with pytest.raises(TimedOut):
        await late
    assert turns > 20
    own_server.thaw()


async def test_late_answers_never_reach_the_next_question(own_server, tmp_path, connect):
    runtime = connect(own_server.url, redisai_timeout_seconds=0.2)
    content = linear(np.ones((4, 1), np.float32))
    loaded = runtime.load(publish(tmp_path, content, group="A", features=4, version="v1"))
    for number in range(5):
        own_server.freeze()
        with pytest.raises(TimedOut):
            await loaded.predict_async(ROW * -1)
        own_server.thaw()
        assert (await loaded.predict_async(ROW * number)).values == 4 * number


def connections_made(url: str) -> int:
    """Return how many connections the server has taken, this one included."""
    with redis.Redis.from_url(url) as client:
        return client.client_id()


async def test_no_more_connections_than_allowed(runtime, url, forests):
    loaded = runtime.load(forests["A"].file)
    before = connections_made(url)
    await asyncio.gather(*(loaded.predict_async(ROW) for _ in range(100)))
    assert 1 <= connections_made(url) - before - 1 <= 4


def test_a_listener_that_speaks_something_else_is_unavailable(forests, connect):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        runtime = connect(
            f"redis://127.0.0.1:{listener.getsockname()[1]}/0", redisai_timeout_seconds=0.2
        )
        with pytest.raises((MlUnavailable, TimedOut)):
            runtime.load(forests["A"].file)


def test_rows_go_in_bounded_executions(runtime, client, forests, monkeypatch):
    monkeypatch.setattr(redisai, "ROWS_PER_EXECUTION", 10)
    loaded = runtime.load(forests["A"].file)
    before = calls(client, "ai.dagexecute_ro")
    matrix = np.random.default_rng(1).normal(size=(25, 4)).astype(np.float32)
    np.testing.assert_allclose(
        loaded.predict(matrix).values, forests["A"].expected(matrix), rtol=1e-5
    )
    assert calls(client, "ai.dagexecute_ro") - before == 3


@pytest.mark.parametrize("rows", [1, 3])
async def test_numbers_that_look_like_the_graphs_separator_do_no_harm(runtime, forests, rows):
    loaded = runtime.load(forests["A"].file)
    matrix = np.ones((rows, 4), np.float32)
    matrix[0, 0] = np.frombuffer(b"|>\0K", np.float32)[0]
    assert matrix.tobytes().startswith(b"|>\0")
    assert matrix[0, 0] == 8404604
    expected = forests["A"].expected(matrix)
    np.testing.assert_allclose(loaded.predict(matrix).values, expected, rtol=1e-5)
    np.testing.assert_allclose((await loaded.predict_async(matrix)).values, expected, rtol=1e-5)


async def test_a_server_too_busy_to_begin_in_time_has_timed_out(own_server, connect, forests):
    runtime = connect(own_server.url, redisai_timeout_seconds=60)
    patient, hurried = (runtime.load(forests[group].file) for group in ("C", "A"))
    hurried._timeout_ms = 1
    over = asyncio.Event()

    async def keep_busy() -> None:
        while not over.is_set():
            await patient.predict_async(np.ones((4096, 12), np.float32))

    async def ask_until_given_up() -> None:
        try:
            while True:
                await hurried.predict_async(ROW)
        except TimedOut:
            over.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(keep_busy())
        tasks.create_task(ask_until_given_up())
    assert over.is_set()
