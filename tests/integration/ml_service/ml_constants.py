"""Published models that answer one number whatever they are asked, made without training."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from aimq import published
from aimq.published import Manifest

#: A record of every one of these models.
RECORD = {"area": 50, "rooms": 2}
_SCHEMA = """
name = "{name}"
title = "{name}"
[target]
name = "price"
prediction = "predicted_price"
[[features]]
name = "area"
type = "number"
[[features]]
name = "rooms"
type = "integer"
"""


def publish_constant(models: Path, name: str, version: str, value: float, weights: int = 1) -> None:
    """Publish a version whose answer is `value`.

    Args:
        weights: numbers that it holds, to be of a size.
    """
    folder = models / name / version
    folder.mkdir(parents=True)
    (folder / "schema.toml").write_text(_SCHEMA.format(name=name))
    (folder / "all.onnx").write_bytes(_constant(value, weights))
    (folder / "metrics.json").write_text('{"groups": {"all": {"model": {"mae": 0.5}}}}')
    manifest = Manifest(
        name=name,
        version=version,
        groups=["all"],
        files={path.name: published.sha256(path) for path in folder.iterdir()},
        created_at="2026-01-31T12:00:00Z",
        data="none: a constant",
    )
    (folder / published.MANIFEST).write_bytes(msgspec.json.encode(manifest))
    (models / name / published.CURRENT).write_text(version)


def _constant(value: float, weights: int) -> bytes:
    """Return ``y = 0 x + w[0 x]``, whose weights are all the value; none can be folded away."""
    w, zero = np.full(weights, value, np.float32), np.zeros(1, np.float32)
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["rows"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["rows", "zero"], ["zeros"]),
        helper.make_node("Cast", ["zeros"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", ["w", "places"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(RECORD)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(zero, "zero")],
    )
    opset = helper.make_opsetid("", 15)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
