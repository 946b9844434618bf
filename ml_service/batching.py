"""Micro-batching: what arrives while one execution runs is executed together next.

Nobody waits for a batch to fill: an idle model executes at once, and its caller awaits that very
execution without a hop through a task. Each answer goes to the request whose row it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import numpy as np

from aimq.errors import AimqError, InternalError, TimedOut
from ml_service.runtimes.port import Answer, Matrix

#: Rows of one execution at most.
MOST_ROWS: Final = 256
#: Longest wait for an answer, in seconds; a runtime's own time limit is below it.
DEADLINE_SECONDS: Final = 10.0

Execute = Callable[[Matrix], Awaitable[Answer]]


class _Waiting(NamedTuple):
    matrix: Matrix
    answer: asyncio.Future[Answer]


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

    async def predict(self, matrix: Matrix) -> Answer:
        """Return the answer for these rows; see `AnsweringModel.answer`.

        Raises:
            TimedOut: no answer before the deadline.
            AimqError: whatever the model raises for these rows, or for any when it is away.
        """
        try:
            async with asyncio.timeout(self._deadline):
                if self._busy:
                    return await self._queued(matrix)
                return await self._alone(matrix)
        except TimeoutError:
            raise TimedOut(f"The model did not answer within {self._deadline:g} s.") from None

    async def _alone(self, matrix: Matrix) -> Answer:
        self._busy = True
        try:
            return await self._execute(matrix)
        finally:
            self._go_on()

    async def _queued(self, matrix: Matrix) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(matrix, future))
        return await future

    def _go_on(self) -> None:
        """Execute what has come meanwhile in a task of its own, or become idle."""
        self._busy = bool(self._waiting)
        if self._busy:
            self._task = asyncio.get_running_loop().create_task(self._execute_waiting())

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
        """Execute a batch; on an error that rows may have caused, its halves."""
        matrix = np.concatenate([waiting.matrix for waiting in batch])
        try:
            answer = await self._execute(matrix)
            if len(answer.values) != len(matrix):
                raise InternalError(f"{len(answer.values)} answers for {len(matrix)} rows")  # noqa: TRY301 # handled alike
        except Exception as exc:  # noqa: BLE001 # a model's bug must reach its caller, not end this task
            away = isinstance(exc, AimqError) and exc.retryable
            if len(batch) > 1 and not away:
                middle = len(batch) // 2
                await self._answer(batch[:middle])
                await self._answer(batch[middle:])
                return
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(exc)
            return
        start = 0
        for waiting in batch:
            end = start + len(waiting.matrix)
            if not waiting.answer.done():
                waiting.answer.set_result(Answer(answer.values[start:end], answer.served_by))
            start = end
