"""The fallback's decisions, on a primary that does as it is told."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from redisai_server.settling import eventually

from aimq.errors import (
    InternalError,
    MlUnavailable,
    ModelMissing,
    ModelRefused,
    TimedOut,
)
from ml_service.breaker import Breaker
from ml_service.runtimes.fallback import INLINE_ROWS, FallbackRuntime
from ml_service.runtimes.port import ModelFile, Predictions

ROW = np.zeros((1, 2), np.float32)
FILE = ModelFile(
    name="cars", group="A", version="v1", path=Path("A.onnx"), sha256="0" * 64, features=2
)
OTHER_FILE = replace(FILE, group="B")


class Primary:
    """Raises `fault` in every call while it is set; loses its models when told to.

    Attributes:
        loads: files that were offered to it, each counted until it has been taken once.
        restored: how often a file that it had taken was loaded again.
    """

    name = "there"

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.refuses = False
        self.present = True
        self.predictions = 0
        self.restored = 0
        self.loads = 0
        self.taken: set[ModelFile] = set()
        self.probed = threading.Event()
        self.closed = 0

    def obey(self) -> None:
        if self.fault is not None:
            raise self.fault

    def load(self, file):
        self.loads += file not in self.taken
        self.probed.set()
        self.obey()
        if self.refuses:
            raise ModelRefused("no such opset")
        self.restored += file in self.taken
        self.taken.add(file)
        self.present = True
        return PrimaryModel(self)

    def close(self):
        self.closed += 1


class PrimaryModel:
    waits = True

    def __init__(self, runtime: Primary) -> None:
        self._runtime = runtime

    def predict(self, matrix):
        self._runtime.predictions += 1
        self._runtime.obey()
        if not self._runtime.present:
            raise ModelMissing("gone")
        return Predictions(np.full(len(matrix), 1, np.float32), "there")

    async def predict_async(self, matrix):
        return self.predict(matrix)


class Secondary:
    name = "here"
    waits = False

    def __init__(self) -> None:
        self.closed = 0
        self.threads: list[str] = []

    def load(self, file):
        return self

    def predict(self, matrix):
        self.threads.append(threading.current_thread().name)
        return Predictions(np.full(len(matrix), 2, np.float32), "here")

    async def predict_async(self, matrix):
        return await asyncio.to_thread(self.predict, matrix)

    def close(self):
        self.closed += 1


@pytest.fixture
def primary():
    return Primary()


@pytest.fixture
def secondary():
    return Secondary()


@pytest.fixture
def start(primary, secondary):
    started = []

    def _start(*, cooldown=0.02, check_seconds=3600.0):
        breaker = Breaker(clock=time.monotonic, cooldown=cooldown, longest=cooldown)
        runtime = FallbackRuntime(primary, secondary, breaker, check_seconds=check_seconds)
        started.append(runtime)
        return runtime

    yield _start
    for runtime in started:
        runtime.close()


def test_a_fit_primary_answers(start):
    answer = start().load(FILE).predict(ROW)
    assert (answer.values, answer.served_by) == (1, "there")


@pytest.mark.parametrize(
    "fault", [MlUnavailable("away"), TimedOut("slow"), ModelMissing("gone"), ModelRefused("bad")]
)
async def test_whatever_is_wrong_with_the_primary_the_secondary_answers(start, primary, fault):
    model = start().load(FILE)
    primary.fault = fault
    assert model.predict(ROW).served_by == "here"
    assert (await model.predict_async(ROW)).served_by == "here"
    assert model.predict(ROW).values == 2


def test_a_bug_of_ours_is_not_hidden(start, primary):
    model = start().load(FILE)
    primary.fault = InternalError("wrong shape")
    with pytest.raises(InternalError):
        model.predict(ROW)


def test_a_primary_that_fails_is_asked_three_times_and_then_no_more(start, primary):
    model = start(cooldown=3600).load(FILE)
    primary.fault = MlUnavailable("away")
    for _ in range(50):
        assert model.predict(ROW).served_by == "here"
    assert primary.predictions == 3


def test_one_missing_model_is_enough_to_stop_asking(start, primary):
    model = start().load(FILE)
    primary.present = False
    primary.restored = 0
    assert model.predict(ROW).served_by == "here"
    eventually(lambda: model.predict(ROW).served_by == "there")
    assert primary.restored == 1


def test_no_request_ever_restores(start, primary):
    model = start(cooldown=3600).load(FILE)
    primary.fault = TimedOut("slow")
    for _ in range(10):
        model.predict(ROW)
    assert (primary.restored, primary.loads) == (0, 1)


def test_service_returns_by_itself_after_the_primary_has_recovered(start, primary):
    model = start().load(FILE)
    primary.fault = MlUnavailable("away")
    while primary.predictions < 3:
        model.predict(ROW)
    primary.probed.clear()
    assert primary.probed.wait(10)
    assert model.predict(ROW).served_by == "here"
    primary.fault = None
    eventually(lambda: model.predict(ROW).served_by == "there")
    assert primary.restored == 1


def test_a_primary_away_at_the_start_gets_its_models_later(start, primary):
    primary.fault = MlUnavailable("away")
    model = start().load(FILE)
    assert model.predict(ROW).served_by == "here"
    primary.fault = None
    eventually(lambda: model.predict(ROW).served_by == "there")


def test_a_model_loaded_while_the_primary_is_away_gets_there_too(start, primary):
    runtime = start()
    primary.fault = MlUnavailable("away")
    models = [runtime.load(FILE), runtime.load(OTHER_FILE)]
    primary.fault = None
    for model in models:
        eventually(lambda model=model: model.predict(ROW).served_by == "there")


def test_a_model_the_primary_refuses_is_served_here_and_the_others_there(start, primary, caplog):
    runtime = start()
    with caplog.at_level(logging.WARNING):
        primary.refuses = True
        refused = runtime.load(FILE)
        primary.refuses = False
        other = runtime.load(OTHER_FILE)
    assert refused.predict(ROW).served_by == "here"
    assert other.predict(ROW).served_by == "there"
    assert "no such opset" in caplog.text
    assert "A.onnx" in caplog.text


def test_a_refused_model_is_not_offered_again(start, primary):
    runtime = start()
    primary.refuses = True
    refused = runtime.load(FILE)
    primary.refuses = False
    other = runtime.load(OTHER_FILE)
    primary.present = False
    other.predict(ROW)
    eventually(lambda: other.predict(ROW).served_by == "there")
    assert primary.loads == 2
    assert refused.predict(ROW).served_by == "here"


def test_a_loss_is_noticed_without_any_request(start, primary):
    kept = start(check_seconds=0.01).load(FILE)
    primary.restored = 0
    primary.present = False
    eventually(lambda: primary.restored >= 1 and primary.present)
    del kept


def test_a_primary_that_fails_while_idle_is_noticed_and_recovers(start, primary):
    model = start(check_seconds=0.01).load(FILE)
    primary.fault = MlUnavailable("away")
    primary.probed.clear()
    assert primary.probed.wait(10)
    primary.fault = None
    eventually(lambda: model.predict(ROW).served_by == "there")


def test_a_bug_in_the_adapter_does_not_end_the_recovery(start, primary, caplog):
    model = start().load(FILE)
    primary.present = False
    primary.fault = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        model.predict(ROW)
    primary.fault = ModelMissing("gone")
    model.predict(ROW)
    primary.fault = RuntimeError("a bug")
    primary.probed.clear()
    primary.probed.wait(10)
    primary.fault = None
    eventually(lambda: model.predict(ROW).served_by == "there")


async def test_large_matrices_leave_the_event_loop_small_ones_do_not(start, primary, secondary):
    model = start(cooldown=3600).load(FILE)
    primary.fault = TimedOut("slow")
    await model.predict_async(np.zeros((INLINE_ROWS, 2), np.float32))
    await model.predict_async(np.zeros((INLINE_ROWS + 1, 2), np.float32))
    inline, elsewhere = secondary.threads
    assert inline == threading.current_thread().name
    assert elsewhere != inline


def test_what_the_secondary_refuses_is_refused(start, secondary, primary):
    def refuse(model):
        raise ModelRefused("damaged")

    secondary.load = refuse
    with pytest.raises(ModelRefused):
        start().load(FILE)
    assert primary.loads == 0


def test_models_that_nobody_uses_are_not_restored_and_both_sides_are_closed(
    start, primary, secondary
):
    runtime = start()
    model = runtime.load(FILE)
    del model
    kept = runtime.load(OTHER_FILE)
    primary.present = False
    kept.predict(ROW)
    eventually(lambda: kept.predict(ROW).served_by == "there")
    assert primary.restored == 1
    runtime.close()
    assert (primary.closed, secondary.closed) == (1, 1)


def test_closing_ends_the_thread(start, primary):
    runtime = start()
    runtime.load(FILE)
    runtime.close()
    runtime.close()
    assert not runtime._thread.is_alive()


def test_a_model_lost_while_it_is_put_right_is_tried_again(start, primary):
    model = start().load(FILE)
    primary.fault = ModelMissing("gone")
    model.predict(ROW)
    primary.probed.clear()
    assert primary.probed.wait(10)
    primary.fault = None
    eventually(lambda: model.predict(ROW).served_by == "there")
