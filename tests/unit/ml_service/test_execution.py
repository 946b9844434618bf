"""Whether a model runs on the event loop is measured; numbers are the same whatever writes them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimq.errors import InternalError
from ml_service import execution
from ml_service.numbers import shortest, shortest_doubles
from ml_service.runtimes.port import Answer

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


class Local:
    def __init__(self, seconds: float = 0.0, value: float = 1.0) -> None:
        self.seconds = seconds
        self.value = value

    def predict(self, matrix):
        if self.seconds:
            time.sleep(self.seconds)
        return np.full(len(matrix), self.value, dtype=np.float32)

    def close(self) -> None: ...


class Remote(Local):
    async def predict_async(self, matrix):
        return self.predict(matrix)


class Choosing(Local):
    def answer(self, matrix):
        return Answer(self.predict(matrix), "one of several")

    async def answer_async(self, matrix):
        return self.answer(matrix)


def warmed(model) -> int:
    return execution.warm_up(model, execution.asking(model, "it"), features=3, calls=5)


def test_a_fast_model_runs_on_the_event_loop_and_a_slow_one_does_not():
    assert warmed(Local()) >= 1
    assert warmed(Local(seconds=2 * execution.INLINE_SECONDS)) == 0


@pytest.mark.parametrize("kind", [Remote, Choosing])
def test_a_model_on_a_network_never_runs_on_the_event_loop_however_fast(kind):
    assert warmed(kind()) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_answers_no_number_fails_its_warm_up(value):
    with pytest.raises(InternalError, match="finite"):
        warmed(Local(value=value))


async def test_each_kind_of_model_is_asked_by_the_way_it_offers():
    matrix = np.zeros((2, 3), np.float32)
    for model, served_by in (
        (Local(), "it"),
        (Remote(), "it"),
        (Choosing(), "one of several"),
    ):
        for answer in (
            execution.asking(model, "it")(matrix),
            await execution.awaiting(model, "it")(matrix),
        ):
            assert (answer.values.tolist(), answer.served_by) == ([1.0, 1.0], served_by)


@given(st.lists(FINITE, max_size=20))
def test_columns_and_single_numbers_are_written_alike_and_read_back_exactly(values):
    vector = np.array(values, dtype=np.float32)
    one_by_one = [float(shortest(value)) for value in vector]
    assert shortest_doubles(vector).tolist() == one_by_one
    assert np.array(one_by_one, dtype=np.float32).tolist() == vector.tolist()
