from __future__ import annotations

import math

import numpy as np
import pytest
from fit_plans import plan
from hypothesis import given
from hypothesis import strategies as st

from etl.candidates import BOOSTING, FOREST, LINEAR, TRIVIAL, candidates
from etl.compare import Compared, compare, left_out_losses, rank
from etl.evaluate import log_losses
from etl.resample import deal, sample

NAMES = (TRIVIAL, LINEAR, BOOSTING, FOREST)
LOSSES = st.floats(0, 1e9) | st.sampled_from([math.inf, math.nan])


def figures(*scores: float, error: float = 0.0) -> dict[str, Compared]:
    return {
        name: Compared(score=score, error=error, metric="mae", seconds=0)
        for name, score in zip(NAMES, scores, strict=True)
    }


@pytest.mark.parametrize(
    ("scores", "first"),
    [
        ((4.0, 3.0, 1.0, 2.0), BOOSTING),
        ((4.0, 3.0, 2.0, 1.0), FOREST),
        ((4.0, 3.0, 2.6, 2.5), LINEAR),  # by half a point, which is within the error of 0.6
        ((4.0, 4.5, 4.2, 4.1), TRIVIAL),
        ((4.0, 4.0, 4.0, 4.0), TRIVIAL),
        ((4.0, 9.0, 5.0, 5.0), TRIVIAL),
        ((4.0, math.nan, 3.0, 3.5), BOOSTING),
        ((4.0, math.inf, math.nan, math.nan), TRIVIAL),
    ],
)
def test_trees_are_chosen_if_they_beat_the_line_by_more_than_their_error(scores, first):
    assert rank(figures(*scores, error=0.6))[0] == first


@given(
    st.lists(LOSSES, min_size=4, max_size=4), st.lists(st.floats(0, 1e9), min_size=4, max_size=4)
)
def test_the_order_has_every_candidate_and_the_rule_holds(scores: list[float], errors: list[float]):
    scores[0] = (
        abs(scores[0]) if math.isfinite(scores[0]) else 1.0
    )  # the trivial one always has one
    compared = {
        name: Compared(score=score, error=error, metric="mae", seconds=0)
        for name, score, error in zip(NAMES, scores, errors, strict=True)
    }
    order = rank(compared)
    assert sorted(order) == sorted(NAMES)
    chosen = compared[order[0]]
    assert math.isfinite(chosen.score)
    assert chosen.score <= compared[TRIVIAL].score
    if order[0] in {BOOSTING, FOREST} and math.isfinite(compared[LINEAR].score):
        assert chosen.score + chosen.error < compared[LINEAR].score


@given(st.lists(st.integers(0, 3), min_size=2, max_size=200), st.integers(2, 5), st.integers(0, 99))
def test_folds_are_even_and_spread_every_class(labels: list[int], folds: int, seed: int):
    of_row = np.array(labels)
    fold = deal(of_row, folds, seed)
    sizes = np.bincount(fold, minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    for label in set(labels):
        held = np.bincount(fold[of_row == label], minlength=folds)
        assert held.max() - held.min() <= 1
    np.testing.assert_array_equal(fold, deal(of_row, folds, seed))


@given(
    st.lists(st.integers(3, 60), min_size=1, max_size=4), st.floats(0.01, 0.99), st.integers(0, 99)
)
def test_a_sample_keeps_the_shares_and_two_rows_of_each_class(counts, share, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = sample(labels, share, seed)
    assert (np.diff(rows) > 0).all()
    for label, count in enumerate(counts):
        taken = int((labels[rows] == label).sum())
        assert 2 <= taken <= count - 1
        assert abs(taken - count * share) <= 2


def test_a_comparison_is_the_same_again_and_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr("etl.compare.FOLDS", 2)
    random = np.random.default_rng(0)
    matrix = random.standard_normal((120, 3)).astype(np.float32)
    target = matrix[:, 0] + random.standard_normal(120)
    first, second = (
        compare(matrix, target, plan(3, trees=8, jobs=jobs), lambda name, share: None)
        for jobs in (1, 2)
    )
    for name in NAMES:
        assert first[name].score == second[name].score
        assert first[name].error == second[name].error


def test_a_short_budget_compares_fewer_rows(monkeypatch):
    sizes = []

    def fit(matrix, target, told):
        sizes.append(len(matrix))
        return candidates(plan(3))[TRIVIAL](matrix, target, told)

    monkeypatch.setattr("etl.compare.candidates", lambda plan: {TRIVIAL: fit})
    matrix = np.random.default_rng(0).standard_normal((900, 3)).astype(np.float32)
    target = matrix[:, 0].astype(float)
    compare(matrix, target, plan(3, budget=0.01), lambda name, share: None)
    assert sizes == [400] * 5
    sizes.clear()
    compare(matrix, target, plan(3), lambda name, share: None)
    assert sizes == [720] * 5


def test_a_row_is_predicted_by_the_model_of_the_other_folds():
    matrix, folds = np.zeros((100, 1), dtype=np.float32), np.repeat(np.arange(10), 10)
    trivial = candidates(plan(1))[TRIVIAL]
    losses = left_out_losses(trivial, matrix, np.arange(100.0), folds, plan(1))
    assert losses[0] == 54.5  # the median of 10 to 99
    assert losses[99] == 54.5


def test_the_figures_are_those_of_the_rows_left_out():
    random = np.random.default_rng(0)
    matrix = np.zeros((100, 1), dtype=np.float32)
    target = random.permutation(np.repeat([0.0, 1.0], [80, 20]))
    result = compare(matrix, target, plan(1, ("no", "yes"), trees=2), lambda name, share: None)
    trivial = result[TRIVIAL]
    expected = log_losses(target, np.tile([0.8, 0.2], (100, 1)))
    assert trivial.metric == "log_loss"
    assert trivial.score == pytest.approx(expected.mean())
    assert trivial.error == pytest.approx(expected.std(ddof=1) / 10)
