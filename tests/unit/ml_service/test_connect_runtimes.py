"""Which runtimes the settings choose."""

from __future__ import annotations

import subprocess
import sys

import pytest

from aimq.errors import SettingsError
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
    assert runtimes["onnx"].name == "redisai, else onnxruntime"
    for runtime in runtimes.values():
        runtime.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://host:6379/3", "database 3.*end the address with /0"),
        ("redis://host:6379/0?db=3", "database 3"),
        ("redis://:secret@host:port/0", "AIMQ_REDISAI_URL: "),
        ("http://host", "AIMQ_REDISAI_URL: "),
    ],
)
def test_an_address_that_can_never_serve_is_refused(url, said):
    with pytest.raises(SettingsError, match=said) as refused:
        connect_runtimes(Settings(redisai_url=url))
    assert "secret" not in refused.value.detail


def test_the_client_is_not_loaded_where_it_is_not_used():
    code = (
        "import sys; from aimq.settings import Settings; "
        "from ml_service.runtimes.connect import connect_runtimes; "
        "[r.close() for r in connect_runtimes(Settings()).values()]; "
        "sys.exit('redisai' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
