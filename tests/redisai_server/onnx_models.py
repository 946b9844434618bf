"""Small ONNX models, made in the test and described as published files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ml_service.runtimes.port import ModelFile


@dataclass(frozen=True)
class Forest:
    """A trained forest as a published file, and the same forest in scikit-learn."""

    file: ModelFile
    regressor: object

    def expected(self, matrix: np.ndarray) -> np.ndarray:
        # tree by tree: the forest's own way changes the process's warning filters, which is unsafe
        # in threads
        trees = [tree.predict(matrix) for tree in self.regressor.estimators_]
        return np.mean(trees, axis=0).astype(np.float32)


@dataclass(frozen=True)
class Classifier:
    """A trained forest of classes as a published file, and the same forest in scikit-learn."""

    file: ModelFile
    classifier: object

    def expected(self, matrix: np.ndarray) -> np.ndarray:
        trees = [tree.predict_proba(matrix) for tree in self.classifier.estimators_]
        return np.mean(trees, axis=0).astype(np.float32)


def linear(weights: np.ndarray, outputs: int = 1, ir: int = 8, opset: int = 15) -> bytes:
    """Return y = x W as ONNX: x is (N, rows of W), each of `outputs` outputs (N, columns of W)."""
    rows, columns = weights.shape
    names = ["y", "z", "v"][:outputs]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], [name]) for name in names],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", rows])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", columns]) for name in names],
        [helper.make_tensor("W", TensorProto.FLOAT, weights.shape, weights.ravel())],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, ir_version=ir, opset_imports=opsets).SerializeToString()


def without_labels(model: ModelProto) -> bytes:
    """Return a converted classifier of IR version 8 that answers its probabilities alone."""
    [labels, _] = model.graph.output
    model.graph.output.remove(labels)
    model.ir_version = 8
    return model.SerializeToString()


def publish(
    folder: Path, content: bytes, *, group: str, features: int, version: str, outputs: int = 1
) -> ModelFile:
    """Write a model file and describe it."""
    path = folder / version / f"{group}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return ModelFile(
        name="cars",
        group=group,
        version=version,
        path=path,
        sha256=digest,
        features=features,
        outputs=outputs,
    )
