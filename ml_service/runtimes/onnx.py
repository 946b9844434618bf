"""In-process ONNX Runtime: the fastest way from a row to a prediction.

One single-threaded session serves everything. A tree ensemble answers one row in microseconds, and
handing it to a thread pool would cost more than computing it; a large matrix is cut into slices
that run side by side on the one session, so that all cores work and the model is held once.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import onnxruntime

from aimq.errors import InternalError, ModelRefused
from ml_service.runtimes.port import Matrix, ModelFile, Vector

#: `onnxruntime.InferenceSession`, which publishes no types.
_Session = Any
#: Rows from which cutting a matrix over the cores pays for itself.
PARALLEL_ROWS: Final = 512
#: Rows of one slice at most: small enough that the cores finish together.
SLICE_ROWS: Final = 2048


class OnnxRuntime:
    """Executes models in this process. Thread-safe.

    Args:
        threads: most slices of one matrix computed side by side.
    """

    name = "onnxruntime"

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads, "onnx") if self._threads > 1 else None

    def load(self, model: ModelFile) -> OnnxModel:
        """Make a model ready.

        Raises:
            ModelRefused: not an ONNX model, or not one float matrix of the schema's width in and
                one number per row out.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # what is wrong is raised; warnings would go to stderr
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(
                model.path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as exc:  # onnxruntime's exceptions share no base class
            raise ModelRefused(f"{model.path}: not loadable by ONNX Runtime: {exc}") from exc
        _check(model, session)
        return OnnxModel(session, model, self._pool, self._threads)

    def close(self) -> None:
        """Stop the threads. Idempotent."""
        if self._pool:
            self._pool.shutdown()


class OnnxModel:
    """One session. Thread-safe."""

    def __init__(
        self, session: _Session, model: ModelFile, pool: ThreadPoolExecutor | None, threads: int
    ) -> None:
        self._run = session.run
        self._input: str = session.get_inputs()[0].name
        self._outputs: list[str] = [session.get_outputs()[0].name]
        self._model = model
        self._pool = pool
        self._threads = threads

    def predict(self, matrix: Matrix) -> Vector:
        """Return one prediction per row; see `LoadedModel`."""
        if len(matrix) < PARALLEL_ROWS or self._pool is None:
            return self._slice(matrix)
        step = min(SLICE_ROWS, -(-len(matrix) // self._threads))
        slices = (matrix[start : start + step] for start in range(0, len(matrix), step))
        return np.concatenate(list(self._pool.map(self._slice, slices)))

    def _slice(self, matrix: Matrix) -> Vector:
        try:
            values: Vector = self._run(self._outputs, {self._input: matrix})[0].reshape(-1)
        except Exception as exc:  # onnxruntime's exceptions share no base class
            raise InternalError(f"ONNX Runtime failed on {self._model.path.name}: {exc}") from exc
        return values

    def close(self) -> None:
        """Nothing to do: the session goes with its last reference."""


def _check(model: ModelFile, session: _Session) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{i.name} {i.type}" for i in inputs) or "none"
        raise ModelRefused(f"{model.path}: one float matrix is expected as input, not {found}")
    shape = inputs[0].shape
    if len(shape) != 2 or shape[1] != model.features or isinstance(shape[0], int):  # noqa: PLR2004 # a matrix
        raise ModelRefused(
            f"{model.path}: input is {shape}; the schema needs any number of rows by "
            f"{model.features} features"
        )
    if not outputs or outputs[0].type != "tensor(float)" or outputs[0].shape[1:] not in ([], [1]):
        raise ModelRefused(f"{model.path}: the first output must be float numbers, one per row")
