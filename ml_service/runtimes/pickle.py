"""The slow baseline: a pickled scikit-learn model, read from disk again for every request."""

from __future__ import annotations

import hashlib
import hmac
import pickle
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aimq.errors import ModelRefused
from ml_service.runtimes.port import Matrix, ModelFile, Vector


class _Regressor(Protocol):
    n_features_in_: int

    def predict(self, matrix: Matrix) -> NDArray[np.float64]: ...


class PickleRuntime:
    """Reads, checks and unpickles the file at each call. Thread-safe; holds nothing."""

    name = "pickle"

    def load(self, model: ModelFile) -> PickleModel:
        """Check that the file can be loaded.

        Raises:
            ModelRefused: another digest than the manifest's, not a pickle, or of another width.
        """
        loaded = PickleModel(model)
        loaded.read()
        return loaded

    def close(self) -> None:
        """Nothing to free."""


class PickleModel:
    """One pickle on disk. Thread-safe; every call blocks on disk and unpickling."""

    def __init__(self, model: ModelFile) -> None:
        self._model = model

    def predict(self, matrix: Matrix) -> Vector:
        """Load the model from disk and predict; see `LoadedModel`."""
        return self.read().predict(matrix).astype(np.float32)

    def read(self) -> _Regressor:
        """Return the unpickled model. The bytes that are checked are the bytes that are loaded.

        Raises:
            ModelRefused: see `PickleRuntime.load`.
        """
        path = self._model.path
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise ModelRefused(f"{path}: cannot be read: {exc.strerror}") from exc
        if not hmac.compare_digest(hashlib.sha256(content).hexdigest(), self._model.sha256):
            raise ModelRefused(f"{path}: its SHA-256 is no longer the manifest's")
        try:
            regressor: _Regressor = pickle.loads(content)  # noqa: S301 # by digest only
            features = regressor.n_features_in_
        except Exception as exc:  # unpickling raises whatever the pickled classes raise
            raise ModelRefused(f"{path}: not a pickled model: {exc!r}") from exc
        if features != self._model.features:
            raise ModelRefused(
                f"{path}: takes {features} features; the schema has {self._model.features}"
            )
        if hasattr(regressor, "n_jobs"):
            regressor.n_jobs = 1  # its threads would fight the other requests'
        return regressor

    def close(self) -> None:
        """Nothing to free."""
