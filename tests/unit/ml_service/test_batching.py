"""Each request gets its own answer, whatever happens to the others in its batch."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

from aimq.errors import InternalError, MlUnavailable, TimedOut
from ml_service.batching import Batcher
from ml_service.runtimes.port import Predictions

BAD = -1.0


def row(value: float, rows: int = 1) -> np.ndarray:
    return np.full((rows, 2), value, dtype=np.float32)


class Model:
    """Answers ten times the first column; runs when it is told to, or at once."""

    def __init__(self, *, gated: bool = True) -> None:
        self.sizes: list[int] = []
        self.running = 0
        self.most_running = 0
        self.gate = asyncio.Event()
        if not gated:
            self.gate.set()
        self.error: Exception | None = None

    async def __call__(self, matrix: np.ndarray) -> Predictions:
        self.sizes.append(len(matrix))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.running -= 1
        if self.error is not None:
            raise self.error
        if (matrix == BAD).any():
            raise InternalError("a bad row")
        return Predictions(matrix[:, 0] * 10, "model")


async def test_requests_to_a_model_of_classes_get_their_own_rows_of_probabilities():
    async def execute(matrix):
        await asyncio.sleep(0)
        return Predictions(np.stack([matrix[:, 0], 1 - matrix[:, 0]], axis=1), "model")

    batcher = Batcher(execute)
    sizes = (1, 2, 1, 3)
    asked = [batcher.predict(row(n / 4, rows)) for n, rows in enumerate(sizes)]
    answers = await asyncio.gather(*asked)
    for n, (answer, rows) in enumerate(zip(answers, sizes, strict=True)):
        assert answer.values.tolist() == [[n / 4, 1 - n / 4]] * rows


async def test_an_idle_model_executes_at_once_and_what_comes_meanwhile_together():
    model = Model()
    batcher = Batcher(model)
    asked = [asyncio.create_task(batcher.predict(row(n))) for n in range(6)]
    await asyncio.sleep(0)
    assert model.sizes == [1]
    model.gate.set()
    answers = await asyncio.gather(*asked)
    assert [float(answer.values[0]) for answer in answers] == [0, 10, 20, 30, 40, 50]
    assert model.sizes == [1, 5]
    assert {answer.served_by for answer in answers} == {"model"}


async def test_a_batch_has_no_more_rows_than_allowed_and_a_larger_request_goes_alone():
    model = Model()
    batcher = Batcher(model, most_rows=4)
    sizes = [1, 3, 1, 2, 9, 1]
    asked = [asyncio.create_task(batcher.predict(row(n, size))) for n, size in enumerate(sizes)]
    await asyncio.sleep(0)
    model.gate.set()
    answers = await asyncio.gather(*asked)
    assert [len(answer.values) for answer in answers] == sizes
    assert model.sizes == [1, 4, 2, 9, 1]


async def test_a_row_that_fails_fails_alone():
    model = Model()
    batcher = Batcher(model)
    values = [0, 1, 2, BAD, 4, 5, 6]
    asked = [asyncio.create_task(batcher.predict(row(value))) for value in values]
    await asyncio.sleep(0)
    model.gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for value, answer in zip(values, answers, strict=True):
        if value == BAD:
            assert isinstance(answer, InternalError)
        else:
            assert answer.values.tolist() == [value * 10]


async def test_a_model_that_is_away_is_asked_once_for_a_batch():
    model = Model()
    model.error = MlUnavailable("away")
    batcher = Batcher(model)
    asked = [asyncio.create_task(batcher.predict(row(n))) for n in range(5)]
    await asyncio.sleep(0)
    model.gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, MlUnavailable) for answer in answers)
    assert model.sizes == [1, 4]


async def test_a_cancelled_request_leaves_the_others_their_answers():
    model = Model()
    batcher = Batcher(model)
    asked = [asyncio.create_task(batcher.predict(row(n))) for n in range(5)]
    await asyncio.sleep(0)
    asked[0].cancel()  # the one that executes
    asked[2].cancel()
    model.gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [
        True, False, True, False, False,
    ]  # fmt: skip
    assert [float(answers[n].values[0]) for n in (1, 3, 4)] == [10, 30, 40]
    assert model.sizes == [1, 3]


async def test_nobody_waits_past_the_deadline_and_the_model_is_asked_again_after():
    model = Model()
    batcher = Batcher(model, deadline=0.01)
    outcomes = await asyncio.gather(
        batcher.predict(row(1)), batcher.predict(row(2)), return_exceptions=True
    )
    assert all(isinstance(outcome, TimedOut) for outcome in outcomes)
    model.gate.set()
    assert (await batcher.predict(row(3))).values.tolist() == [30]


async def test_too_few_answers_are_an_error_not_somebody_elses_answer():
    async def short(matrix: np.ndarray) -> Predictions:
        await asyncio.sleep(0)
        return Predictions(matrix[: max(1, len(matrix) - 1), 0], "short")

    batcher = Batcher(short)
    answers = await asyncio.gather(*(batcher.predict(row(n)) for n in range(4)))
    assert [answer.values.tolist() for answer in answers] == [[0], [1], [2], [3]]


@pytest.mark.parametrize("seed", range(8))
async def test_under_random_load_with_cancellations_and_errors_every_answer_is_its_own(seed):
    chance = random.Random(seed)
    model = Model(gated=False)
    batcher = Batcher(model, most_rows=chance.randint(1, 9))

    async def client(number: int) -> None:
        for step in range(20):
            await asyncio.sleep(chance.choice([0, 0, 0.0005]))
            value = BAD if chance.random() < 0.05 else number * 100 + step
            rows = chance.randint(1, 4)
            asked = asyncio.ensure_future(batcher.predict(row(value, rows)))
            if chance.random() < 0.1:
                await asyncio.sleep(0)
                asked.cancel()
            try:
                answer = await asked
            except asyncio.CancelledError:
                assert asked.cancelled()
            except InternalError:
                assert value == BAD
            else:
                assert value != BAD
                assert answer.values.tolist() == [value * 10] * rows

    async with asyncio.timeout(30):
        await asyncio.gather(*(client(number) for number in range(25)))
    assert model.most_running == 1
    assert max(model.sizes) > 1
    assert not batcher._waiting
    assert not batcher._busy
