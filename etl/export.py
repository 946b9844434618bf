"""A fitted model as ONNX and as a pickle, and the proof that both answer alike.

Both take the float32 matrix. The ONNX file has one output: a number per row, or a probability per
class.

RedisAI 1.2.7 carries ONNX Runtime 1.11, which reads opset 15, ``ai.onnx.ml`` up to 3 and IR version
8: nothing newer is written.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimq.errors import ModelRefused
from etl.candidates import Estimator, predict

OPSET: Final = 15
ML_OPSET: Final = 2
IR_VERSION: Final = 8
INPUT: Final = "features"
OUTPUT: Final = "prediction"
#: Largest difference between the two files' answers, see `check_parity`.
TOLERANCE: Final = 1e-4
#: Thresholds of trees that `at_thresholds` looks at.
THRESHOLDS: Final = 1_000

Matrix = NDArray[np.float32]
Floats = NDArray[np.float64]


class Exported(NamedTuple):
    """A model's two files, and what they answer.

    Attributes:
        parity: largest difference between the two, see `check_parity`.
        predicted: the ONNX file's answers for the rows they were compared on, see `open_onnx`.
    """

    onnx: bytes
    pickled: bytes
    parity: float
    predicted: Floats


def export(model: Estimator, matrix: Matrix, name: str) -> Exported:
    """Export a fitted estimator; both files must answer alike on a matrix and at thresholds.

    Args:
        matrix: float32 (n, features), rows that the model was not fitted to; n at least one.
        name: of the kind of model.

    Raises:
        ModelRefused: it cannot be exported, or the files differ.
    """
    onnx, pickled = to_onnx(model, matrix.shape[1], name), to_pickle(model)
    answer = open_onnx(onnx)
    parity = check_parity(answer, pickled, np.concatenate([matrix, at_thresholds(onnx, matrix)]))
    return Exported(onnx, pickled, parity, answer(matrix))


def to_onnx(model: Estimator, features: int, name: str = "forest") -> bytes:
    """Return a fitted estimator as ONNX, the same bytes for the same estimator.

    Its input is ``features``, float32 (n, features), its output ``prediction``, float32 (n, 1) or
    probabilities (n, classes).

    Args:
        name: of the graph; skl2onnx makes a random one up otherwise.

    Raises:
        ModelRefused: skl2onnx cannot export it.
    """
    from skl2onnx import convert_sklearn  # noqa: PLC0415 - slow to import
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415

    try:
        with warnings.catch_warnings():  # skl2onnx gives protobuf booleans for integers
            warnings.simplefilter("ignore", DeprecationWarning)
            exported = convert_sklearn(
                model,
                name=name,
                initial_types=[(INPUT, FloatTensorType([None, features]))],
                target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
                options={id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None,
            )
    except (RuntimeError, TypeError, ValueError) as exc:
        raise ModelRefused(f"It cannot be exported to ONNX: {str(exc)[:200]}") from exc
    exported.ir_version = IR_VERSION
    # Sorted, for skl2onnx lists them in the order of a set of strings.
    opsets = sorted(exported.opset_import, key=lambda opset: opset.domain, reverse=True)
    del exported.opset_import[:]
    exported.opset_import.extend(opsets)
    _keep_last_output(exported.graph)
    return bytes(exported.SerializeToString())


def _keep_last_output(graph: Any) -> None:  # noqa: ANN401 - protobuf has no types
    """Remove a classifier's label and what only it needs; the output is called `OUTPUT`."""
    del graph.output[:-1]
    given = graph.output[0].name
    needed = {given}
    for node in reversed(graph.node):  # topological order
        if needed.intersection(node.output):
            needed.update(node.input)
    kept = [node for node in graph.node if needed.intersection(node.output)]
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)
    for node in graph.node:
        node.output[:] = [OUTPUT if name == given else name for name in node.output]
    graph.output[0].name = OUTPUT


def to_pickle(model: Estimator) -> bytes:
    """Return an estimator as a pickle of protocol 5: unpickled, it has ``predict(matrix)``."""
    return pickle.dumps(model, protocol=5)


def session(onnx: bytes) -> Any:  # noqa: ANN401 - onnxruntime publishes no types
    """Load an ONNX file in ONNX Runtime, without its warnings. Raises what ONNX Runtime raises."""
    from aimq.ort import onnxruntime  # noqa: PLC0415 - slow to import

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def open_onnx(onnx: bytes) -> Callable[[Matrix], Floats]:
    """Load an ONNX file.

    Returns:
        What answers a matrix: float64 (n,), or probabilities (n, classes).
    """
    loaded = session(onnx)

    def answer(matrix: Matrix) -> Floats:
        answers = np.asarray(loaded.run([OUTPUT], {INPUT: matrix})[0], dtype=np.float64)
        return answers[:, 0] if answers.shape[1] == 1 else answers

    return answer


def at_thresholds(onnx: bytes, matrix: Matrix) -> Matrix:
    """Return rows where two runtimes could part: a value at a tree's threshold, or just above.

    Each row is one of the matrix with one value replaced. There are two for each of up to
    `THRESHOLDS` thresholds; none for a model without trees.
    """
    pairs = np.unique(_thresholds(onnx), axis=0)
    pairs = pairs[:: len(pairs) // THRESHOLDS + 1]
    rows = np.tile(matrix[np.arange(len(pairs)) % len(matrix)], (2, 1))
    values = pairs[:, 1].astype(np.float32)
    columns = np.tile(pairs[:, 0].astype(np.intp), 2)
    above = np.nextafter(values, np.float32(np.inf))
    rows[np.arange(len(rows)), columns] = np.concatenate([values, above])
    return rows


def _thresholds(onnx: bytes) -> Floats:
    """Return (column, threshold) of every split of a model's trees, float64 (splits, 2)."""
    from skl2onnx.proto import onnx_proto  # noqa: PLC0415 - slow to import

    found = [np.empty((0, 2))]
    for node in onnx_proto.ModelProto.FromString(onnx).graph.node:
        parts = {part.name: part for part in node.attribute}
        if "nodes_modes" in parts:
            pairs = np.array([parts["nodes_featureids"].ints, parts["nodes_values"].floats]).T
            found.append(pairs[np.array(parts["nodes_modes"].strings) != b"LEAF"])
    return np.concatenate(found)


def check_parity(answer: Callable[[Matrix], Floats], pickled: bytes, matrix: Matrix) -> float:
    """Return the largest difference of the two files' answers on a matrix.

    Probabilities differ absolutely. Numbers differ relative to themselves, or to the mean absolute
    answer where that is larger: float32 sums have no relative accuracy near 0.

    Args:
        answer: of the ONNX file, see `open_onnx`.

    Raises:
        ModelRefused: it is over `TOLERANCE`, or an answer is no finite number.
    """
    fast = answer(matrix)
    slow = predict(pickle.loads(pickled), matrix)  # noqa: S301 - made by `to_pickle` here
    scale = np.ones(1)
    if slow.ndim == 1:
        size = np.abs(slow)
        scale = np.maximum(np.maximum(size, size.mean()), np.finfo(np.float32).tiny)
    if fast.shape != slow.shape:
        raise ModelRefused(f"ONNX answers of shape {fast.shape}, the pickle of {slow.shape}.")
    difference = float(np.max(np.abs(fast - slow) / scale, initial=0.0))
    if not difference <= TOLERANCE:  # true for NaN as well
        raise ModelRefused(
            f"ONNX and pickle differ by {difference:.2g} (relative; {TOLERANCE:g} is allowed): "
            "nothing is published of it."
        )
    return difference
