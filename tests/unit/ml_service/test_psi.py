"""Population stability index: small for one distribution, large for another, whatever the bins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_service.psi import LARGE, MODERATE, Verdict, by_chance, index_of, verdict_on

SHARES = st.lists(st.floats(0.01, 1), min_size=2, max_size=30).map(
    lambda parts: np.array(parts) / sum(parts)
)
SEEDS = st.integers(0, 2**32 - 1)


def sample(shares: np.ndarray, rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(rows, shares)


def test_the_index_is_that_of_the_formula():
    expected, actual = np.array([5000, 5000]), np.array([8000, 2000])
    formula = (0.8 - 0.5) * math.log(0.8 / 0.5) + (0.2 - 0.5) * math.log(0.2 / 0.5)
    assert index_of(expected, actual) == pytest.approx(formula, rel=1e-3)


@given(SHARES, SEEDS)
def test_one_distribution_has_an_index_near_zero(shares, seed):
    expected, actual = sample(shares, 50_000, seed), sample(shares, 10_000, seed + 1)
    index = index_of(expected, actual)
    assert 0 <= index < 0.02
    assert verdict_on(index, by_chance(expected, actual)) is Verdict.STABLE


@given(SHARES, SEEDS, st.integers(20, 10_000))
def test_rows_that_all_fall_into_a_rare_bin_are_a_large_change(shares, seed, rows):
    expected = sample(shares, 50_000, seed)
    actual = np.zeros(len(shares), np.int64)
    actual[expected.argmin()] = rows
    if expected.min() < 25_000:
        index = index_of(expected, actual)
        assert index >= LARGE or index < by_chance(expected, actual)
        if rows >= 1000 and len(shares) > 2:
            assert verdict_on(index, by_chance(expected, actual)) is Verdict.LARGE


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), SEEDS)
def test_any_counts_have_a_finite_index_that_is_zero_for_equal_shares(counts, seed):
    expected = np.array(counts)
    actual = np.random.default_rng(seed).permutation(expected)
    assert math.isfinite(index_of(expected, actual))
    assert index_of(expected, actual) >= 0
    assert index_of(expected, expected) == 0
    assert index_of(expected, actual) == pytest.approx(index_of(actual, expected))


@given(st.integers(2, 30), SEEDS)
def test_few_rows_of_one_distribution_raise_no_alarm(bins, seed):
    shares = np.full(bins, 1 / bins)
    alarms = 0
    for round_ in range(40):
        expected = sample(shares, 5000, seed + round_)
        actual = sample(shares, 25, seed + 1000 + round_)
        verdict = verdict_on(index_of(expected, actual), by_chance(expected, actual))
        alarms += verdict is not Verdict.STABLE
    assert alarms <= 8


@pytest.mark.parametrize(
    ("index", "chance", "verdict"),
    [
        (0.0, 0.0, "stable"),
        (MODERATE - 1e-9, 0.0, "stable"),
        (MODERATE, 0.0, "moderate"),
        (LARGE - 1e-9, 0.0, "moderate"),
        (LARGE, 0.0, "large"),
        (0.9, 1.0, "stable"),
        (1.1, 1.0, "large"),
        (0.2, 0.15, "moderate"),
    ],
)
def test_the_verdict_by_the_thresholds_and_by_chance(index, chance, verdict):
    assert verdict_on(index, chance) == verdict
