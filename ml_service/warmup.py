"""A loaded model is asked until it is warm; that also measures what the event loop may execute."""

from __future__ import annotations

import time
from statistics import median
from typing import Final

import numpy as np

from aimq.errors import InternalError
from ml_service.runtimes.port import Matrix, Model

#: A call that is expected to take longer than this, in seconds, does not run on the event loop.
INLINE_SECONDS: Final = 0.001
#: Calls of each size; the first ones fill caches.
CALLS: Final = 30
#: The calls of one size end after this, in seconds; one is always made.
MOST_SECONDS: Final = 0.25
#: Rows from which the time per row is learnt.
MANY_ROWS: Final = 64


def warm_up(model: Model, features: int, outputs: int = 1) -> int:
    """Warm a model up, and return the number of rows that it may predict on the event loop.

    That is 0 for models that wait for a disk or a network; one call has to do for these. Others
    may predict as many rows as they do in `INLINE_SECONDS`, by the medians of several calls.

    Args:
        features: columns of the matrix.
        outputs: numbers of an answer, see `ModelFile.outputs`.

    Raises:
        InternalError: an answer is not so many finite numbers per row.
        AimqError: whatever the model raises.
    """
    if model.waits:
        _call(model, np.zeros((1, features), np.float32), outputs)
        return 0
    one = _median_seconds(model, np.zeros((1, features), np.float32), outputs)
    if one > INLINE_SECONDS:
        return 0
    many = _median_seconds(model, np.zeros((MANY_ROWS, features), np.float32), outputs)
    per_row = max((many - one) / (MANY_ROWS - 1), one / MANY_ROWS)
    return max(1, int(INLINE_SECONDS / per_row))


def _median_seconds(model: Model, matrix: Matrix, outputs: int) -> float:
    until = time.perf_counter() + MOST_SECONDS
    taken = [_call(model, matrix, outputs)]
    while len(taken) < CALLS and time.perf_counter() < until:
        taken.append(_call(model, matrix, outputs))
    return median(taken)


def _call(model: Model, matrix: Matrix, outputs: int) -> float:
    """Return the seconds of one call whose answer is right in shape."""
    started = time.perf_counter()
    values, served_by = model.predict(matrix)
    seconds = time.perf_counter() - started
    shape = (len(matrix),) if outputs == 1 else (len(matrix), outputs)
    if values.shape != shape or not np.isfinite(values).all():
        raise InternalError(
            f"{served_by} answered the warm-up with shape {values.shape}, or with what is no "
            "finite number"
        )
    return seconds
