"""RedisAI killed, restarted, frozen and emptied under load: no prediction fails, all are right."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import redis
from redisai_server.onnx_models import linear, publish
from redisai_server.process import RedisAiServer
from redisai_server.settling import callbacks_done, eventually

from aimq.settings import Settings
from ml_service.breaker import Breaker
from ml_service.runtimes.fallback import FallbackRuntime
from ml_service.runtimes.onnx import OnnxRuntime
from ml_service.runtimes.redisai.commands import model_key
from ml_service.runtimes.redisai.runtime import RedisAiRuntime

pytest_plugins = ("redisai_server.fixtures",)

GROUPS = ("A", "B", "C")


@pytest.fixture
def server():
    with RedisAiServer() as server:
        yield server


@pytest.fixture
async def runtime(server):
    settings = Settings(redisai_url=server.url, redisai_timeout_seconds=0.3)
    breaker = Breaker(clock=time.monotonic, cooldown=0.05, longest=0.2)
    runtime = FallbackRuntime(RedisAiRuntime(settings), OnnxRuntime(2), breaker, check_seconds=3600)
    yield runtime
    runtime.close()
    await callbacks_done()


@pytest.fixture
def loaded(runtime, forests):
    return {group: runtime.load(forests[group].file) for group in GROUPS}


class Load:
    """Random predictions over all groups, each checked against scikit-learn; counts who served."""

    def __init__(self, loaded, forests) -> None:
        self._loaded = loaded
        self._forests = forests
        self.served = Counter()

    def question(self, seed: int):
        choose = random.Random(seed)
        group = choose.choice(GROUPS)
        rows = choose.choice((1, 1, 1, 3, 30, 100))
        features = self._forests[group].file.features
        return group, np.random.default_rng(seed).normal(size=(rows, features)).astype(np.float32)

    def check(self, group, matrix, answer) -> str:
        expected = self._forests[group].expected(matrix)
        np.testing.assert_allclose(answer.values, expected, rtol=1e-5)
        self.served[answer.served_by] += 1
        return answer.served_by

    def predict(self, seed: int) -> str:
        group, matrix = self.question(seed)
        return self.check(group, matrix, self._loaded[group].predict(matrix))

    async def predict_async(self, seed: int) -> str:
        group, matrix = self.question(seed)
        return self.check(group, matrix, await self._loaded[group].predict_async(matrix))

    async def predict_until(self, served_by: str, seconds: float = 30.0) -> None:
        """Predict one after the other until `served_by` has answered all three groups."""
        async with asyncio.timeout(seconds):
            for group in GROUPS:
                matrix = np.zeros((1, self._forests[group].file.features), np.float32)
                while True:
                    answer = await self._loaded[group].predict_async(matrix)
                    if self.check(group, matrix, answer) == served_by:
                        break
                    await asyncio.sleep(0.005)


@pytest.fixture
def load(loaded, forests):
    return Load(loaded, forests)


async def keep_asking(load: Load, disturb, *, clients: int = 16) -> None:
    """Predict from many tasks at once until `disturb`, run meanwhile in a thread, is over."""
    over = asyncio.Event()
    seeds = iter(range(10**9))

    async def client() -> None:
        while not over.is_set():
            await load.predict_async(next(seeds))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(client())
        try:
            await asyncio.to_thread(disturb)
        finally:
            over.set()


async def test_killed_and_restarted_twice_under_load_no_prediction_fails(server, load):
    def at_least(count: int, served_by: str) -> None:
        reached = load.served[served_by] + count
        eventually(lambda: load.served[served_by] >= reached)

    def disturb() -> None:
        for _ in range(2):
            at_least(200, "redisai")
            server.kill()
            at_least(200, "onnxruntime")
            server.start()
            at_least(200, "redisai")

    await keep_asking(load, disturb)
    await load.predict_until("redisai")


async def test_ten_thousand_predictions_with_a_crash_in_their_midst_are_all_right(server, load):
    await load.predict_until("redisai")
    seeds = iter(range(10_000))
    before = load.served.total()

    def answered(count: int) -> None:
        eventually(lambda: load.served.total() - before >= count, seconds=90)

    def served_by(runtime: str) -> None:
        eventually(lambda: load.served[runtime] > 1_000, seconds=90)

    def disturb() -> None:
        answered(3_000)
        served_by("redisai")
        server.kill()
        answered(6_000)
        served_by("onnxruntime")
        server.start()

    async def client() -> None:
        for seed in seeds:
            await load.predict_async(seed)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(disturb))
        for _ in range(64):
            tasks.create_task(client())
    assert load.served.total() - before == 10_000
    assert min(load.served["redisai"], load.served["onnxruntime"]) > 1_000
    await load.predict_until("redisai")


async def test_the_same_from_threads(server, load):
    await load.predict_until("redisai")
    over = threading.Event()
    seeds = iter(range(10**9))

    def client() -> int:
        asked = 0
        while not over.is_set():
            load.predict(next(seeds))
            asked += 1
        return asked

    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(client) for _ in range(6)]
        try:
            for served_by, act in (("redisai", server.kill), ("onnxruntime", server.start)):
                reached = load.served[served_by] + 100
                eventually(lambda at=reached, by=served_by: load.served[by] >= at)
                act()
            reached = load.served["redisai"] + 100
            eventually(lambda: load.served["redisai"] >= reached)
        finally:
            over.set()
        assert sum(client.result() for client in clients) >= 300


async def test_a_server_that_lost_its_models_gets_them_back_in_the_background(
    server, load, forests
):
    await load.predict_until("redisai")

    with redis.Redis.from_url(server.url) as client:

        def stores() -> int:
            return client.info("commandstats")["cmdstat_ai.modelstore"]["calls"]

        before = stores()
        client.flushall()
        await asyncio.gather(*(load.predict_async(seed) for seed in range(100)))
        await load.predict_until("redisai")
        assert stores() - before == len(GROUPS)
        for group in GROUPS:
            assert client.exists(model_key(forests[group].file))
    assert load.served["onnxruntime"] > 0


async def test_a_server_that_hangs_is_left_alone_until_it_answers(server, load):
    await load.predict_until("redisai")
    server.freeze()
    try:
        await asyncio.gather(*(load.predict_async(seed) for seed in range(50)))
        await load.predict_until("onnxruntime")
        served = load.served["redisai"]
        await asyncio.gather(*(load.predict_async(seed) for seed in range(200)))
        assert load.served["redisai"] == served
    finally:
        server.thaw()
    await load.predict_until("redisai")


async def test_a_server_that_comes_up_after_the_start_is_used(server, forests):
    server.kill()
    settings = Settings(redisai_url=server.url)
    breaker = Breaker(clock=time.monotonic, cooldown=0.05, longest=0.2)
    runtime = FallbackRuntime(RedisAiRuntime(settings), OnnxRuntime(2), breaker)
    load = Load({group: runtime.load(forests[group].file) for group in GROUPS}, forests)
    await asyncio.gather(*(load.predict_async(seed) for seed in range(50)))
    assert set(load.served) == {"onnxruntime"}
    server.start()
    await load.predict_until("redisai")
    runtime.close()
    await callbacks_done()


async def test_a_model_only_this_process_can_execute_is_served_here(runtime, load, tmp_path):
    newer = linear(np.ones((4, 1), np.float32), opset=17)
    model = runtime.load(publish(tmp_path, newer, group="A", features=4, version="newer"))
    answer = await model.predict_async(np.ones((1, 4), np.float32))
    assert (answer.values, answer.served_by) == (4, "onnxruntime")
    await load.predict_until("redisai")
    assert runtime.asks_primary


async def test_a_model_whose_file_is_gone_when_it_is_needed_again_is_served_here(
    server, runtime, load, forests, tmp_path
):
    path = tmp_path / "A.onnx"
    path.write_bytes(forests["A"].file.path.read_bytes())
    model = runtime.load(replace(forests["A"].file, path=path, version="short-lived"))
    matrix = np.ones((1, 4), np.float32)
    assert model.predict(matrix).served_by == "redisai"
    path.unlink()
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    assert model.predict(matrix).served_by == "onnxruntime"
    await load.predict_until("redisai")
    assert model.predict(matrix).served_by == "onnxruntime"
