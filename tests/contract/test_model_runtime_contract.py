"""Every model runtime passes one suite; so does a real RedisAI named by AIMQ_TEST_REDISAI_URL."""

from __future__ import annotations

import os
import time

import pytest
from model_runtime_contract import ModelRuntimeContract
from redisai_server.settling import callbacks_done

from aimq.settings import Settings
from ml_service.breaker import Breaker
from ml_service.runtimes.fallback import FallbackRuntime
from ml_service.runtimes.onnx import OnnxRuntime
from ml_service.runtimes.redisai.runtime import RedisAiRuntime

pytest_plugins = ("redisai_server.fixtures",)

REAL = os.environ.get("AIMQ_TEST_REDISAI_URL", "")


class TestOnnxRuntime(ModelRuntimeContract):
    @pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
    def runtime(self, request):
        runtime = OnnxRuntime(request.param)
        yield runtime
        runtime.close()


class TestRedisAiStandIn(ModelRuntimeContract):
    @pytest.fixture
    async def runtime(self, redisai_server):
        runtime = RedisAiRuntime(Settings(redisai_url=redisai_server.url))
        yield runtime
        runtime.close()
        await callbacks_done()


@pytest.mark.skipif(not REAL, reason="AIMQ_TEST_REDISAI_URL names no server")
class TestRealRedisAi(ModelRuntimeContract):
    @pytest.fixture
    async def runtime(self):
        runtime = RedisAiRuntime(Settings(redisai_url=REAL))
        yield runtime
        runtime.close()
        await callbacks_done()


class TestFallback(ModelRuntimeContract):
    @pytest.fixture
    async def runtime(self, redisai_server):
        primary = RedisAiRuntime(Settings(redisai_url=redisai_server.url))
        runtime = FallbackRuntime(primary, OnnxRuntime(2), Breaker(clock=time.monotonic))
        yield runtime
        runtime.close()
        await callbacks_done()


class TestFallbackWithoutItsPrimary(ModelRuntimeContract):
    @pytest.fixture
    def runtime(self):
        primary = RedisAiRuntime(Settings(redisai_url="redis://127.0.0.1:1/0"))
        runtime = FallbackRuntime(primary, OnnxRuntime(2), Breaker(clock=time.monotonic))
        yield runtime
        runtime.close()
