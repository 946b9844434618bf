"""ONNX Runtime sends nothing to its maker."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
from redisai_server.onnx_models import linear

ROOT = Path(__file__).parents[3]
PACKAGES = ("aimq", "batch_processor", "etl", "interface", "ml_service")
EXECUTE = """
import sys
import numpy as np
from aimq.ort import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {session.get_inputs()[0].name: np.ones((1, 3), np.float32)})
"""


def test_a_process_that_executes_models_keeps_no_telemetry(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    model = tmp_path / "model.onnx"
    model.write_bytes(linear(np.ones((3, 1), np.float32)))
    subprocess.run(
        [sys.executable, "-c", EXECUTE, str(model)],
        env={"PYTHONPATH": str(ROOT), "HOME": str(home)},  # without CI, which switches it off too
        check=True,
    )
    assert list(home.rglob("*")) == []


def test_the_product_imports_onnx_runtime_in_one_place():
    importers = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(a.name == "onnxruntime" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "onnxruntime")
    ]
    assert importers == ["aimq/ort.py"]
