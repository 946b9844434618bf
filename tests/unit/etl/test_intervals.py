from __future__ import annotations

import math

import numpy as np
import pytest
from fit_plans import plan
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, make_friedman1

from etl.candidates import BOOSTING, LINEAR, TRIVIAL, candidates
from etl.fit import fit
from etl.intervals import MEASURED, coverage, crossed, half_widths

ERRORS = st.lists(st.floats(0, 1e6), min_size=1, max_size=300).map(np.array)


@given(ERRORS)
def test_a_width_holds_the_corrected_share_of_the_errors(errors):
    widths = half_widths(errors)
    assert widths == sorted(widths)
    for level, width in enumerate(widths, start=1):
        held = int((errors <= width).sum())
        assert held >= min(math.ceil((len(errors) + 1) * level / 100 - 1e-9), len(errors))
        assert width in errors
        # and no smaller error would do
        assert int((errors < width).sum()) < math.ceil((len(errors) + 1) * level / 100 - 1e-9)


def test_nine_errors_give_the_widths_of_the_textbook():
    widths = half_widths(np.arange(9.0, 0.0, -1.0))
    assert [widths[level - 1] for level in (1, 10, 11, 50, 90, 91, 99)] == [1, 1, 2, 5, 9, 9, 9]


def test_the_coverage_of_new_errors_is_the_stated_one():
    random = np.random.default_rng(0)
    shares = [
        coverage(
            np.abs(random.standard_normal(400)), half_widths(np.abs(random.standard_normal(50)))
        )
        for _ in range(400)
    ]
    for level in MEASURED:
        assert np.mean([share[level] for share in shares]) == pytest.approx(level / 100, abs=0.02)


def test_widths_from_held_out_rows_are_measured_on_their_other_half():
    errors = np.abs(np.random.default_rng(1).standard_normal(4_000))
    for level, share in crossed(errors).items():
        assert share == pytest.approx(level / 100, abs=0.02)
    assert crossed(np.ones(1)) == {}


def test_intervals_of_a_small_table_hold_nine_tenths_over_repeated_splits(monkeypatch):
    matrix, target = load_diabetes(return_X_y=True)
    quick = {name: candidates(plan(10))[name] for name in (TRIVIAL, LINEAR)}
    monkeypatch.setattr("etl.compare.candidates", lambda plan: quick)
    shares = [
        fit(
            matrix.astype(np.float32), target, plan(10, seed=seed), lambda name, share: None
        ).coverage[90]
        for seed in range(12)
    ]
    assert np.mean(shares) == pytest.approx(0.9, abs=0.02)


def test_intervals_do_not_widen_where_few_rows_were_compared(monkeypatch):
    matrix, target = make_friedman1(4_000, noise=1, random_state=1)
    quick = {name: candidates(plan(10))[name] for name in (TRIVIAL, LINEAR, BOOSTING)}
    monkeypatch.setattr("etl.compare.candidates", lambda plan: quick)
    result = fit(matrix.astype(np.float32), target, plan(10, budget=0.01), lambda name, share: None)
    assert result.chosen == BOOSTING
    assert result.coverage[90] == pytest.approx(0.9, abs=0.02)


def test_intervals_come_from_the_held_out_rows_where_they_are_many(monkeypatch):
    matrix, target = make_friedman1(6_000, noise=1, random_state=1)
    quick = {name: candidates(plan(10))[name] for name in (TRIVIAL, LINEAR)}
    monkeypatch.setattr("etl.compare.candidates", lambda plan: quick)
    result = fit(matrix.astype(np.float32), target, plan(10), lambda name, share: None)
    errors = np.abs(target[result.unseen] - result.predicted)
    assert result.intervals == half_widths(errors)
    assert result.coverage == crossed(errors)
    assert result.coverage[90] == pytest.approx(0.9, abs=0.02)
