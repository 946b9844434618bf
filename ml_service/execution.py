"""How a loaded model is asked, and whether it may be on the event loop: measured, not assumed."""

from __future__ import annotations

import time
from statistics import median
from typing import Final

import numpy as np

from aimq.errors import InternalError
from ml_service.runtimes.port import Answer, AnsweringModel, AsyncModel, LoadedModel, Matrix

#: A call that is expected to take longer than this, in seconds, does not run on the event loop.
INLINE_SECONDS: Final = 0.001
#: Calls of the warm-up; the first ones fill caches.
WARM_CALLS: Final = 30
#: Rows from which the time per row is learnt.
WARM_ROWS: Final = 64


def ask(model: LoadedModel, served_by: str, matrix: Matrix) -> Answer:
    """Ask a model, blocking. Raises what `LoadedModel.predict` raises.

    Args:
        served_by: the runtime's name, for a model that does not say it itself.
    """
    if isinstance(model, AnsweringModel):
        return model.answer(matrix)
    return Answer(model.predict(matrix), served_by)


def warm_up(model: LoadedModel, served_by: str, features: int, calls: int = WARM_CALLS) -> int:
    """Ask the model until it is warm, and return how many rows it may answer on the event loop.

    Models that wait on a network may not, however fast they are today: 0. Others may answer as
    many rows as they do in `INLINE_SECONDS`, by the medians of one-row and of `WARM_ROWS` calls.

    Raises:
        InternalError: an answer is not one finite number per row.
        AimqError: whatever the model raises.
    """
    one = _median_seconds(model, served_by, np.zeros((1, features), np.float32), calls)
    if isinstance(model, AnsweringModel | AsyncModel) or one > INLINE_SECONDS:
        return 0
    many = _median_seconds(model, served_by, np.zeros((WARM_ROWS, features), np.float32), calls)
    per_row = max((many - one) / (WARM_ROWS - 1), one / WARM_ROWS)
    return max(1, int(INLINE_SECONDS / per_row))


def _median_seconds(model: LoadedModel, served_by: str, matrix: Matrix, calls: int) -> float:
    taken = []
    for _ in range(calls):
        started = time.perf_counter()
        values = ask(model, served_by, matrix).values
        taken.append(time.perf_counter() - started)
        if values.shape != (len(matrix),) or not np.isfinite(values).all():
            raise InternalError(
                f"{served_by} answered the warm-up with shape {values.shape}, or with what is no "
                "finite number"
            )
    return median(taken)
