"""Whether a model runs on the event loop is measured; numbers are the same whatever writes them."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimq.errors import InternalError
from ml_service import warmup
from ml_service.float_format import shortest, shortest_doubles
from ml_service.runtimes.port import Predictions

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


class Local:
    waits = False

    def __init__(self, seconds: float = 0.0, value: float = 1.0) -> None:
        self.seconds = seconds
        self.value = value
        self.calls = 0

    def predict(self, matrix):
        self.calls += 1
        if self.seconds:
            time.sleep(self.seconds)
        return Predictions(np.full(len(matrix), self.value, dtype=np.float32), "it")


class Waiting(Local):
    waits = True


def warmed(model) -> int:
    return warmup.warm_up(model, features=3)


def test_a_fast_model_runs_on_the_event_loop_and_a_slow_one_does_not():
    assert warmed(Local()) >= 1
    assert warmed(Local(seconds=2 * warmup.INLINE_SECONDS)) == 0


def test_a_model_that_waits_never_runs_on_the_event_loop_however_fast():
    assert warmed(Waiting()) == 0


def test_a_slow_model_does_not_hold_the_start_up(monkeypatch):
    monkeypatch.setattr(warmup, "MOST_SECONDS", 0.005)
    model = Local(seconds=0.01)
    assert warmed(model) == 0
    assert model.calls == 1


def test_a_model_that_waits_is_asked_once():
    model = Waiting()
    warmed(model)
    assert model.calls == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_answers_no_number_fails_its_warm_up(value):
    with pytest.raises(InternalError, match="finite"):
        warmed(Local(value=value))


@settings(deadline=None)  # pyarrow is imported with the first column
@given(st.lists(FINITE, max_size=20))
def test_columns_and_single_numbers_are_written_alike_and_read_back_exactly(values):
    vector = np.array(values, dtype=np.float32)
    one_by_one = [float(shortest(value)) for value in vector]
    assert shortest_doubles(vector).tolist() == one_by_one
    assert np.array(one_by_one, dtype=np.float32).tolist() == vector.tolist()
