"""The ModelRuntime port: something that turns a feature matrix into predictions.

Encoding and validation happen before (`aimq.schema`); a runtime sees numbers only. A runtime must
offer `LoadedModel.predict`. What more it can do it says by also offering `AsyncModel` (it waits on
a network, so it is awaited and never called on the event loop) or `AnsweringModel` (it chooses
between runtimes at each call, so it says which one answered).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

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


@runtime_checkable
class AsyncModel(LoadedModel, Protocol):
    """A model that is reached over a network: awaited on the event loop, never run there.

    Its calls are micro-batched (`ml_service.batching`), one execution at a time per model.
    """

    async def predict_async(self, matrix: Matrix) -> Vector:
        """Do as `predict` without blocking the event loop; cancelling it is safe."""
        ...


class Answer(NamedTuple):
    """Predictions, and the runtime they came from.

    Attributes:
        values: float32 (n,), one prediction per row.
        served_by: `ModelRuntime.name` of the runtime that computed all of them.
    """

    values: Vector
    served_by: str


@runtime_checkable
class AnsweringModel(LoadedModel, Protocol):
    """A model behind which one of several runtimes answers, chosen at each call.

    Where a model offers this, it is asked through these two, not through `predict`.
    """

    def answer(self, matrix: Matrix) -> Answer:
        """Do as `predict`, and say which runtime answered."""
        ...

    async def answer_async(self, matrix: Matrix) -> Answer:
        """Do as `answer` without blocking the event loop; cancelling it is safe."""
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
