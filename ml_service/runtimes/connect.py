"""Chooses the runtimes by the settings."""

from __future__ import annotations

from aimq.settings import Settings
from ml_service.runtimes.onnx import OnnxRuntime
from ml_service.runtimes.pickle import PickleRuntime
from ml_service.runtimes.port import ModelRuntime
from ml_service.version import ONNX, PICKLE


def connect_runtimes(settings: Settings) -> dict[str, ModelRuntime]:
    """Return the runtime for each way of asking: ``/predict/onnx`` and ``/predict/pickle``."""
    return {ONNX: OnnxRuntime(settings.concurrency), PICKLE: PickleRuntime()}
