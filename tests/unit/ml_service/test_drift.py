"""The last rows are kept in bounded memory, however they come, and compared when asked."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from aimq.profile import ColumnProfile, Profile
from ml_service.drift import Drift, Measured

EDGES = [1.5, 2.5, 3.5]


def column(name: str, feature: str = "", counts=(100, 100, 100, 100)) -> ColumnProfile:
    return ColumnProfile(
        name=name,
        feature=feature or name,
        edges=EDGES,
        counts=list(counts),
        low=1.0,
        high=4.0,
        coded=False,
    )


@pytest.fixture
def profile() -> Profile:
    return Profile(rows=400, columns=[column("a"), column("b")])


def rows(*values: float) -> np.ndarray:
    return np.array([[value, value] for value in values], np.float32)


def even(count: int) -> np.ndarray:
    return rows(*(1 + n % 4 for n in range(count)))


def indices(measured: Measured) -> dict[str, float]:
    return {feature.name: feature.psi for feature in measured.features}


def test_without_rows_nothing_is_measured(profile):
    assert Drift(profile).measure() == Measured(0, ())


def test_rows_as_those_of_training_have_no_drift_and_others_a_large_one(profile):
    drift = Drift(profile)
    drift.add(even(400))
    assert indices(drift.measure()) == {"a": 0.0, "b": 0.0}
    assert {feature.verdict for feature in drift.latest.features} == {"stable"}
    moved = even(4000)
    moved[:, 1] = 4
    drift.add(moved)
    measured = drift.measure()
    assert measured.rows == 4400
    assert [feature.verdict for feature in measured.features] == ["stable", "large"]


def test_only_the_last_rows_count_whether_they_come_singly_or_as_a_table(profile):
    chance = random.Random(3)
    drift, expected = Drift(profile, most=50), []
    for _ in range(60):
        table = rows(
            *(chance.choice((1, 2, 3, 4)) for _ in range(chance.choice((1, 1, 1, 7, 64, 80))))
        )
        if len(table) == 1:
            drift.add_one(table)
        else:
            drift.add(table)
        expected = [*expected, *table[:, 0].tolist()][-50:]
        alone = Drift(profile, most=50)
        alone.add(rows(*expected, *expected)[-len(expected) :])
        assert drift.measure() == alone.measure()


def test_single_rows_are_bounded_before_anybody_measures(profile):
    drift = Drift(profile, most=10)
    for _ in range(40):
        drift.add_one(rows(4))
    for _ in range(10):
        drift.add_one(rows(1))
    drift.add(rows(1, 1))
    only_ones = Drift(profile, most=10)
    only_ones.add(rows(*[1] * 10))
    assert drift.measure() == only_ones.measure()


def test_a_feature_has_the_largest_index_of_its_columns():
    names = ("day.days", "day.month")
    profile = Profile(rows=400, columns=[column(name, "day") for name in names])
    drift = Drift(profile)
    matrix = even(400)
    matrix[:, 1] = 1
    drift.add(matrix)
    [feature] = drift.measure().features
    assert (feature.name, feature.verdict) == ("day", "large")


def test_the_same_rows_are_measured_once(profile):
    drift = Drift(profile)
    drift.add(even(8))
    first = drift.measure()
    assert drift.measure() is first
    assert drift.latest is first
    drift.add_one(rows(2))
    assert drift.measure() is not first


def test_rows_from_many_threads_are_all_counted(profile):
    drift = Drift(profile)

    def add(number: int) -> None:
        (drift.add if number % 3 else drift.add_one)(even(1 + number % 3))
        if number % 10 == 0:
            drift.measure()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(900)))
    assert drift.measure().rows == 300 * (1 + 2 + 3)
