"""Which runtimes the settings choose."""

from __future__ import annotations

import subprocess
import sys

from aimq.settings import Settings
from ml_service.runtimes.connect import connect_runtimes
from ml_service.runtimes.fallback import FallbackRuntime
from ml_service.runtimes.onnx import OnnxRuntime


def test_without_an_address_models_are_executed_here():
    runtimes = connect_runtimes(Settings())
    assert isinstance(runtimes["onnx"], OnnxRuntime)
    for runtime in runtimes.values():
        runtime.close()


def test_with_an_address_redisai_comes_first():
    runtimes = connect_runtimes(Settings(redisai_url="redis://127.0.0.1:1/0"))
    assert isinstance(runtimes["onnx"], FallbackRuntime)
    assert runtimes["onnx"].names == ("redisai", "onnxruntime")
    for runtime in runtimes.values():
        runtime.close()


def test_the_client_is_not_loaded_where_it_is_not_used():
    code = (
        "import sys; from aimq.settings import Settings; "
        "from ml_service.runtimes.connect import connect_runtimes; "
        "[r.close() for r in connect_runtimes(Settings()).values()]; "
        "sys.exit('redisai' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
