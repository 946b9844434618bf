"""The ModelRuntime port: something that turns a feature matrix into predictions.

Encoding and validation happen before (`aimq.schema`); a runtime sees numbers only. There is one
kind of model, whatever executes it: it is asked by `Model.predict` from threads and by
`Model.predict_async` from the event loop, and each answer names the runtime that computed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
#: float32 (n,) of models with one output, (n, outputs) of models with several.
Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One published model file; its digest equals the manifest's.

    Attributes:
        name: name of the model, as ``used_cars``.
        group: model group it predicts for.
        version: published version.
        path: the file.
        sha256: hexadecimal digest of the file.
        features: number of columns of the matrix.
        outputs: numbers that the model gives for a row: 1, or a probability for each class.
    """

    name: str
    group: str
    version: str
    path: Path
    sha256: str
    features: int
    outputs: int = 1

    def values_shape(self, rows: int) -> tuple[int, ...]:
        """Return the shape of the answer for so many rows (-1: any): (n,) or (n, outputs)."""
        return (rows,) if self.outputs == 1 else (rows, self.outputs)


class Predictions(NamedTuple):
    """The answer of a model.

    Attributes:
        values: float32 (n,), one number per row; of a model of classes (n, outputs), a probability
            for each class.
        served_by: `ModelRuntime.name` of the runtime that computed all of them.
    """

    values: Values
    served_by: str


class Model(Protocol):
    """A model that is ready to answer. Thread-safe. It is freed with its last reference.

    Attributes:
        waits: `predict` waits for a disk or a network, so it never runs on the event loop.
    """

    waits: bool

    def predict(self, matrix: Matrix) -> Predictions:
        """Return the predictions of a float32 matrix (n, features) in C order. May block.

        Raises:
            TransientError: the runtime cannot be reached or is too slow; `ModelMissing` if it has
                lost the model, which `ModelRuntime.load` mends.
            ModelRefused: the runtime cannot execute the model.
            InternalError: the matrix has another width than the model.
        """
        ...

    async def predict_async(self, matrix: Matrix) -> Predictions:
        """Do as `predict` without blocking the event loop; cancelling it is safe.

        A model is asked from one event loop only.
        """
        ...


class ModelRuntime(Protocol):
    """A way of executing models. Thread-safe.

    Attributes:
        name: what ``X-Served-By`` says.
    """

    name: str

    def load(self, file: ModelFile) -> Model:
        """Make a model ready. Blocks.

        A file that is loaded again makes sure that the runtime still has it and keeps it.

        Raises:
            ModelRefused: the file is damaged, does not fit its schema, or cannot be executed.
            TransientError: the runtime cannot be reached, or does not answer in time.
        """
        ...

    def close(self) -> None:
        """Free connections and threads. Blocks; idempotent."""
        ...
