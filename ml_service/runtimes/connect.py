"""Chooses the runtimes by the settings."""

from __future__ import annotations

import time

from aimq.settings import Settings
from ml_service.breaker import Breaker
from ml_service.runtimes.onnx import OnnxRuntime
from ml_service.runtimes.pickle import PickleRuntime
from ml_service.runtimes.port import ModelRuntime
from ml_service.version import ONNX, PICKLE


def connect_runtimes(settings: Settings) -> dict[str, ModelRuntime]:
    """Return the runtime for each way of asking: ``/predict/onnx`` and ``/predict/pickle``.

    With a RedisAI server it answers, and ONNX Runtime in this process whenever it does not.
    """
    here = OnnxRuntime(settings.concurrency)
    if not settings.redisai_url:
        return {ONNX: here, PICKLE: PickleRuntime()}
    from ml_service.runtimes.fallback import FallbackRuntime  # noqa: PLC0415 # where it is used
    from ml_service.runtimes.redisai import RedisAiRuntime  # noqa: PLC0415 # redis, redisai

    breaker = Breaker(clock=time.monotonic)
    return {ONNX: FallbackRuntime(RedisAiRuntime(settings), here, breaker), PICKLE: PickleRuntime()}
