import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.capacity import (
    erlang_c,
    exponential,
    fixed,
    mean_wait,
    predict,
    simulate,
    wait_percentile,
    workers_needed,
)


@pytest.mark.parametrize(("workers", "load"), [(1, 0.5), (1, 0.8), (2, 0.7), (4, 0.8), (16, 0.9)])
def test_the_simulation_agrees_with_the_closed_form_of_exponential_work(workers, load):
    source = random.Random(7)
    work, rate = 0.05, load * workers / 0.05

    found = predict(
        exponential(rate, source), exponential(1 / work, source), workers, 400_000, warm_up=20_000
    )

    assert found.mean == pytest.approx(mean_wait(rate, work, workers), rel=0.08)
    assert found.p95 == pytest.approx(wait_percentile(rate, work, workers, 95), rel=0.08)
    assert found.busy == pytest.approx(load, rel=0.02)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_the_simulation_agrees_with_pollaczek_and_khinchine_for_fixed_work(load):
    work = 0.05
    found = predict(exponential(load / work, random.Random(3)), fixed(work), 1, 400_000, 20_000)

    assert found.mean == pytest.approx(load * work / (2 * (1 - load)), rel=0.05)


def test_one_worker_waits_as_often_as_it_is_busy():
    assert erlang_c(0.6, 1) == pytest.approx(0.6)


def test_erlangs_formula_gives_the_textbook_value_for_two_workers():
    # offered 1, two workers: C = (1/2 * 2) / (1 + 1 + 1/2 * 2) = 1/3
    assert erlang_c(1.0, 2) == pytest.approx(1 / 3)


def test_tasks_are_begun_in_order_of_arrival_by_whoever_is_free_first():
    durations = iter([3.0, 1.0, 1.0, 1.0])

    done = simulate([0.0, 0.0, 0.5, 0.6], lambda: next(durations), workers=2)

    assert done == [(0.0, 3.0), (0.0, 1.0), (0.5, 2.0), (pytest.approx(1.4), 3.0)]


def test_the_same_seed_gives_the_same_prediction():
    def once():
        source = random.Random(1)
        return predict(exponential(10, source), exponential(12, source), 1, 1_000)

    assert once() == once()


def test_too_few_workers_wait_for_ever():
    assert mean_wait(arrival_rate=30, work=0.1, workers=3) == math.inf
    assert wait_percentile(30, 0.1, 3, 95) == math.inf


@given(
    st.floats(0.1, 2_000), st.floats(0.001, 0.5), st.sampled_from([50, 95, 99]), st.floats(0.001, 5)
)
def test_the_workers_needed_keep_the_limit_and_one_fewer_do_not(rate, work, percent, limit):
    workers = workers_needed(rate, work, percent, limit)

    assert wait_percentile(rate, work, workers, percent) <= limit
    assert workers == 1 or wait_percentile(rate, work, workers - 1, percent) > limit


@given(st.floats(0.1, 50), st.floats(0.01, 1), st.integers(1, 100))
def test_more_workers_never_wait_longer(rate, work, workers):
    assert mean_wait(rate, work, workers + 1) <= mean_wait(rate, work, workers)
