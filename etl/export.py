"""A forest as ONNX and as a pickle, and the proof that both answer alike.

RedisAI 1.2.7 carries ONNX Runtime 1.11, which reads opset 15, ``ai.onnx.ml`` up to 3 and IR version
8: nothing newer is written.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from aimq.errors import ModelRefused

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestRegressor

OPSET: Final = 15
ML_OPSET: Final = 2
IR_VERSION: Final = 8
INPUT: Final = "features"
OUTPUT: Final = "prediction"
#: Largest relative difference between the two files' answers.
TOLERANCE: Final = 1e-4

Matrix = NDArray[np.float32]


def to_onnx(forest: RandomForestRegressor, features: int) -> bytes:
    """Return the forest as ONNX: ``features`` float32 (n, features) to ``prediction`` (n, 1)."""
    from skl2onnx import convert_sklearn  # noqa: PLC0415 - slow to import
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415

    model = convert_sklearn(
        forest,
        name="forest",  # a random one otherwise: the same forest shall be the same bytes
        initial_types=[(INPUT, FloatTensorType([None, features]))],
        target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
    )
    model.ir_version = IR_VERSION
    given = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = [OUTPUT if name == given else name for name in node.output]
    model.graph.output[0].name = OUTPUT
    return bytes(model.SerializeToString())


def to_pickle(forest: RandomForestRegressor) -> bytes:
    """Return the forest as a pickle of protocol 5: unpickled, it has ``predict(matrix)``."""
    return pickle.dumps(forest, protocol=5)


def check_parity(onnx: bytes, pickled: bytes, matrix: Matrix) -> float:
    """Return the largest relative difference of the two files' answers on a matrix.

    Raises:
        ModelRefused: it is over `TOLERANCE`, or an answer is no finite number.
    """
    from aimq.ort import onnxruntime  # noqa: PLC0415 - slow to import

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    fast = session.run([OUTPUT], {INPUT: matrix})[0][:, 0].astype(np.float64)
    forest = pickle.loads(pickled)  # noqa: S301 - made by `to_pickle` in this very process
    slow = np.asarray(forest.predict(matrix), dtype=np.float64)
    scale = np.maximum(np.abs(slow), np.finfo(np.float32).tiny)
    difference = float(np.max(np.abs(fast - slow) / scale, initial=0.0))
    if not difference <= TOLERANCE:  # true for NaN as well
        raise ModelRefused(
            f"ONNX and pickle differ by {difference:.2g} (relative; {TOLERANCE:g} is allowed): "
            "nothing is published."
        )
    return difference
