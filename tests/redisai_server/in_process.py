"""The plainest in-process runtime: what a fallback falls back to in tests of the fallback."""

from __future__ import annotations

import numpy as np
import onnxruntime

from aimq.errors import InternalError, ModelRefused
from ml_service.runtimes.port import ModelFile


class InProcessRuntime:
    name = "onnxruntime"

    def load(self, model: ModelFile) -> InProcessModel:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(model.path.read_bytes(), options)
        except Exception as exc:
            raise ModelRefused(f"{model.path}: {exc}") from exc
        loaded = InProcessModel(session, model.features)
        try:
            answer = session.run(None, {loaded.input: np.zeros((2, model.features), np.float32)})
        except Exception as exc:
            raise ModelRefused(f"{model.path}: {exc}") from exc
        if answer[0].size != 2:
            raise ModelRefused(f"{model.path}: answers several numbers a row")
        return loaded

    def close(self) -> None:
        pass


class InProcessModel:
    def __init__(self, session: onnxruntime.InferenceSession, features: int) -> None:
        self._session = session
        self._features = features
        self.input = session.get_inputs()[0].name

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.shape[1:] != (self._features,):
            raise InternalError(f"a matrix of shape {matrix.shape}")
        return self._session.run(None, {self.input: matrix})[0].reshape(-1)

    def close(self) -> None:
        pass
