"""Chooses the runtimes by the settings."""

from __future__ import annotations

import time
from importlib.util import find_spec

from aimq.settings import Settings
from ml_service.runtimes.onnx import OnnxRuntime
from ml_service.runtimes.pickle import PickleRuntime
from ml_service.runtimes.port import ModelRuntime
from ml_service.version import ONNX, PICKLE


def connect_runtimes(settings: Settings) -> dict[str, ModelRuntime]:
    """Return the runtime for each format of a model: of ``/predict/onnx`` and ``/predict/pickle``.

    With a ``redisai_url``, ONNX models are executed there, and in this process while it is away.
    An installation without scikit-learn has no runtime for pickles.
    """
    here = OnnxRuntime(settings.concurrency)
    onnx = _with_redisai(settings, here) if settings.redisai_url else here
    if find_spec("sklearn") is None:
        return {ONNX: onnx}
    return {ONNX: onnx, PICKLE: PickleRuntime()}


def _with_redisai(settings: Settings, here: OnnxRuntime) -> ModelRuntime:
    # The client is loaded where it is used: it costs every other start memory and time.
    from ml_service.breaker import Breaker  # noqa: PLC0415
    from ml_service.runtimes.fallback import FallbackRuntime  # noqa: PLC0415
    from ml_service.runtimes.redisai.runtime import RedisAiRuntime  # noqa: PLC0415

    return FallbackRuntime(RedisAiRuntime(settings), here, Breaker(clock=time.monotonic))
