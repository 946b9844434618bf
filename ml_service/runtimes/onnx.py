"""In-process ONNX Runtime: the fastest way from a row to a prediction.

Each model is one single-threaded session. It answers one row in microseconds, less than the
hand-over to a thread costs. A large matrix is cut into slices that run side by side on the one
session, so that all cores work and the model is in memory once.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from aimq.errors import InternalError, ModelRefused
from aimq.ort import onnxruntime
from ml_service.runtimes.port import Matrix, ModelFile, Predictions, Values

#: Rows from which cutting a matrix over the cores pays for itself.
PARALLEL_ROWS: Final = 512
#: Rows of one slice at most: small enough that the cores finish together.
SLICE_ROWS: Final = 2048

#: `onnxruntime.InferenceSession`, which publishes no types.
_Session = Any


class OnnxRuntime:
    """Executes models in this process. Thread-safe.

    Args:
        threads: most slices of one matrix computed side by side.
    """

    name = "onnxruntime"

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads, "onnx") if self._threads > 1 else None

    def load(self, file: ModelFile) -> OnnxModel:
        """Make a model ready.

        Raises:
            ModelRefused: not an ONNX model, or not one float matrix of the schema's width in and
                as many numbers per row out as the schema needs.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors are raised; warnings would go to stderr
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(
                file.path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as exc:  # onnxruntime's exceptions share no base class
            raise ModelRefused(f"{file.path}: not loadable by ONNX Runtime: {exc}") from exc
        _check(file, session)
        return OnnxModel(session, file, self._pool, self._threads)

    def close(self) -> None:
        """Stop the threads. Blocks; idempotent."""
        if self._pool:
            self._pool.shutdown()


class OnnxModel:
    """One session. Thread-safe."""

    waits = False

    def __init__(
        self, session: _Session, file: ModelFile, pool: ThreadPoolExecutor | None, threads: int
    ) -> None:
        self._run = session.run
        self._input: str = session.get_inputs()[0].name
        self._outputs: list[str] = [session.get_outputs()[0].name]
        self._shape = file.values_shape(-1)
        self._file = file
        self._pool = pool
        self._threads = threads

    def predict(self, matrix: Matrix) -> Predictions:
        """Return the predictions of the rows; see `Model.predict`."""
        if len(matrix) < PARALLEL_ROWS or self._pool is None:
            return Predictions(self._slice(matrix), OnnxRuntime.name)
        step = min(SLICE_ROWS, -(-len(matrix) // self._threads))
        slices = (matrix[start : start + step] for start in range(0, len(matrix), step))
        values = np.concatenate(list(self._pool.map(self._slice, slices)))
        return Predictions(values, OnnxRuntime.name)

    async def predict_async(self, matrix: Matrix) -> Predictions:
        """Do as `predict` in a thread."""
        return await asyncio.to_thread(self.predict, matrix)

    def _slice(self, matrix: Matrix) -> Values:
        try:
            values: Values = self._run(self._outputs, {self._input: matrix})[0].reshape(self._shape)
        except Exception as exc:  # onnxruntime's exceptions share no base class
            raise InternalError(f"ONNX Runtime failed on {self._file.path.name}: {exc}") from exc
        return values


def _check(file: ModelFile, session: _Session) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        found = ", ".join(f"{i.name} {i.type}" for i in inputs) or "none"
        raise ModelRefused(f"{file.path}: one float matrix is expected as input, not {found}")
    shape = inputs[0].shape
    if len(shape) != 2 or shape[1] != file.features or isinstance(shape[0], int):  # noqa: PLR2004 # a matrix
        raise ModelRefused(
            f"{file.path}: input is {shape}; the schema needs any number of rows by "
            f"{file.features} features"
        )
    widths: tuple[list[int], ...] = ([], [1]) if file.outputs == 1 else ([file.outputs],)
    if not outputs or outputs[0].type != "tensor(float)" or outputs[0].shape[1:] not in widths:
        raise ModelRefused(
            f"{file.path}: the first output must be float numbers, {file.outputs} per row"
        )
