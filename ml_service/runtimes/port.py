"""The ModelRuntime port: something that turns a feature matrix into predictions.

Encoding and validation happen before (`aimq.schema`); a runtime sees numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One published model file, its digest already checked against the manifest.

    Attributes:
        name: name of the model, as ``used_cars``.
        group: model group it predicts for.
        version: published version.
        path: the file.
        sha256: hexadecimal digest of the file.
        features: number of columns of the matrix.
    """

    name: str
    group: str
    version: str
    path: Path
    sha256: str
    features: int


class LoadedModel(Protocol):
    """A model ready to answer. Thread-safe."""

    def predict(self, matrix: Matrix) -> Vector:
        """Return one prediction per row: float32 (n, features), C order, to float32 (n,).

        May block; raises `TransientError` when the runtime cannot be reached or is too slow, and
        `ModelRefused` when it does not have the model.
        """
        ...

    def close(self) -> None:
        """Free what the model holds. Idempotent; no call of `predict` is under way."""
        ...


class ModelRuntime(Protocol):
    """A way of executing models. Thread-safe.

    Attributes:
        name: what ``X-Served-By`` says.
    """

    name: str

    def load(self, model: ModelFile) -> LoadedModel:
        """Make a model ready. Raises `ModelRefused`, or `TransientError`."""
        ...

    def close(self) -> None:
        """Free connections and pools. Idempotent."""
        ...
