"""Micro-batching: requests that arrive during an execution are executed together next.

No request waits for a batch to fill. An idle model executes at once, in the task of the request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import numpy as np

from aimq.errors import AimqError, InternalError, TimedOut
from ml_service.runtimes.port import Matrix, Predictions

#: Rows of one execution at most.
MOST_ROWS: Final = 256
#: Longest wait for an answer, in seconds; a runtime's own time limit is below it.
DEADLINE_SECONDS: Final = 10.0

Execute = Callable[[Matrix], Awaitable[Predictions]]


class _Waiting(NamedTuple):
    matrix: Matrix
    answer: asyncio.Future[Predictions]


class Batcher:
    """Batches the requests to one model. Belongs to one event loop.

    Args:
        execute: asks the model; cancelling it must be safe.
        most_rows: rows of one execution at most; a larger request is executed alone.
        deadline: longest wait of a request, in seconds.
    """

    def __init__(
        self,
        execute: Execute,
        most_rows: int = MOST_ROWS,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._execute = execute
        self._most_rows = most_rows
        self._deadline = deadline
        self._busy = False
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None

    async def predict(self, matrix: Matrix) -> Predictions:
        """Return the predictions of these rows.

        Raises:
            TimedOut: no answer before the deadline.
            AimqError: whatever the model raises for these rows, or for any when it is away.
        """
        try:
            async with asyncio.timeout(self._deadline):
                if not self._busy:
                    return await self._execute_now(matrix)
                waiting = _Waiting(matrix, asyncio.get_running_loop().create_future())
                self._waiting.append(waiting)
                return await waiting.answer
        except TimeoutError:
            raise TimedOut(f"The model did not answer within {self._deadline:g} s.") from None

    async def _execute_now(self, matrix: Matrix) -> Predictions:
        self._busy = True
        try:
            return await self._execute(matrix)
        finally:
            self._go_on()

    def _go_on(self) -> None:
        """Execute the waiting requests in a task, or become idle."""
        self._busy = bool(self._waiting)
        if self._busy:
            self._task = asyncio.create_task(self._execute_waiting())

    async def _execute_waiting(self) -> None:
        try:
            while batch := self._next_batch():
                await self._answer(batch)
        finally:
            self._go_on()

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting:
            if self._waiting[0].answer.done():  # cancelled, or past its deadline
                self._waiting.popleft()
                continue
            rows += len(self._waiting[0].matrix)
            if batch and rows > self._most_rows:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        """Execute a batch; after an error that one of its rows may have caused, its halves."""
        matrix = np.concatenate([waiting.matrix for waiting in batch])
        try:
            values, served_by = await self._execute(matrix)
            if len(values) != len(matrix):
                raise InternalError(f"{len(values)} answers for {len(matrix)} rows")  # noqa: TRY301 # handled alike
        except Exception as exc:  # noqa: BLE001 # a model's bug must reach its caller, not end this task
            away = isinstance(exc, AimqError) and exc.retryable
            if len(batch) == 1 or away:
                _fail(batch, exc)
                return
            middle = len(batch) // 2
            await self._answer(batch[:middle])
            await self._answer(batch[middle:])
            return
        ends = np.cumsum([len(waiting.matrix) for waiting in batch])
        for waiting, part in zip(batch, np.split(values, ends[:-1]), strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(Predictions(part, served_by))


def _fail(batch: list[_Waiting], exc: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(exc)
