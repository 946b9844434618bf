"""How a loaded model is asked, and whether it may be on the event loop: measured, not assumed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
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


Ask = Callable[[Matrix], Answer]
AskAsync = Callable[[Matrix], Awaitable[Answer]]


def asking(model: LoadedModel, served_by: str) -> Ask:
    """Return how to ask a model, blocking; it raises what `LoadedModel.predict` raises.

    Args:
        served_by: the runtime's name, for a model that does not say it itself.
    """
    if isinstance(model, AnsweringModel):
        return model.answer
    predict = model.predict
    return lambda matrix: Answer(predict(matrix), served_by)


def awaiting(model: LoadedModel, served_by: str) -> AskAsync:
    """Return how to ask a model without blocking the event loop."""
    if isinstance(model, AnsweringModel):
        return model.answer_async
    ask = asking(model, served_by)
    if not isinstance(model, AsyncModel):
        return lambda matrix: asyncio.to_thread(ask, matrix)
    predict_async = model.predict_async

    async def awaited(matrix: Matrix) -> Answer:
        return Answer(await predict_async(matrix), served_by)

    return awaited


def warm_up(model: LoadedModel, ask: Ask, features: int, calls: int = WARM_CALLS) -> int:
    """Ask the model until it is warm, and return how many rows it may answer on the event loop.

    Models that wait on a network may not, however fast they are today: 0. Others may answer as
    many rows as they do in `INLINE_SECONDS`, by the medians of one-row and of `WARM_ROWS` calls.

    Raises:
        InternalError: an answer is not one finite number per row.
        AimqError: whatever the model raises.
    """
    one = _median_seconds(ask, np.zeros((1, features), np.float32), calls)
    if isinstance(model, AnsweringModel | AsyncModel) or one > INLINE_SECONDS:
        return 0
    many = _median_seconds(ask, np.zeros((WARM_ROWS, features), np.float32), calls)
    per_row = max((many - one) / (WARM_ROWS - 1), one / WARM_ROWS)
    return max(1, int(INLINE_SECONDS / per_row))


def _median_seconds(ask: Ask, matrix: Matrix, calls: int) -> float:
    taken = []
    for _ in range(calls):
        started = time.perf_counter()
        answer = ask(matrix)
        taken.append(time.perf_counter() - started)
        if answer.values.shape != (len(matrix),) or not np.isfinite(answer.values).all():
            raise InternalError(
                f"{answer.served_by} answered the warm-up with shape {answer.values.shape}, or "
                "with what is no finite number"
            )
    return median(taken)
