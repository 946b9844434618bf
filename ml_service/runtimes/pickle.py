"""The slow baseline: a pickled scikit-learn model, read from disk again for every request."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import pickle
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aimq.errors import ModelRefused
from ml_service.runtimes.port import Matrix, ModelFile, Predictions


class _Estimator(Protocol):
    """A regressor; a classifier has `classes_` and `predict_proba` as well."""

    n_features_in_: int
    classes_: NDArray[np.generic]

    def predict(self, matrix: Matrix) -> NDArray[np.float64]: ...

    def predict_proba(self, matrix: Matrix) -> NDArray[np.float64]: ...


class PickleRuntime:
    """Reads, checks and unpickles the file at each call. Thread-safe; holds nothing."""

    name = "pickle"

    def load(self, file: ModelFile) -> PickleModel:
        """Check that the file can be loaded.

        Raises:
            ModelRefused: another digest than the manifest's, not a pickle, or of another width.
        """
        model = PickleModel(file)
        model.read()
        return model

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


class PickleModel:
    """One pickle on disk. Thread-safe; every call reads and unpickles the file."""

    waits = True

    def __init__(self, file: ModelFile) -> None:
        self._file = file

    def predict(self, matrix: Matrix) -> Predictions:
        """Load the model from disk and predict; see `Model.predict`."""
        estimator = self.read()
        ask = estimator.predict if self._file.outputs == 1 else estimator.predict_proba
        values = ask(matrix).astype(np.float32).reshape(self._file.values_shape(len(matrix)))
        return Predictions(values, PickleRuntime.name)

    async def predict_async(self, matrix: Matrix) -> Predictions:
        """Do as `predict` in a thread."""
        return await asyncio.to_thread(self.predict, matrix)

    def read(self) -> _Estimator:
        """Return the unpickled model. The bytes that are checked are the bytes that are loaded.

        Raises:
            ModelRefused: see `PickleRuntime.load`.
        """
        path = self._file.path
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise ModelRefused(f"{path}: cannot be read: {exc.strerror}") from exc
        if not hmac.compare_digest(hashlib.sha256(content).hexdigest(), self._file.sha256):
            raise ModelRefused(f"{path}: its SHA-256 is no longer the manifest's")
        try:
            estimator: _Estimator = pickle.loads(content)  # noqa: S301 # by digest only
            features = estimator.n_features_in_
            outputs = 1 if self._file.outputs == 1 else len(estimator.classes_)
        except Exception as exc:  # unpickling raises whatever the pickled classes raise
            raise ModelRefused(f"{path}: not a pickled model: {exc!r}") from exc
        if features != self._file.features:
            raise ModelRefused(
                f"{path}: takes {features} features; the schema has {self._file.features}"
            )
        if outputs != self._file.outputs:
            raise ModelRefused(f"{path}: has {outputs} classes; the schema {self._file.outputs}")
        if hasattr(estimator, "n_jobs"):
            estimator.n_jobs = 1  # its threads would compete with the other requests'
        return estimator
