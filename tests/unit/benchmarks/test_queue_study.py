import pytest

from benchmarks.async_study.stage import percentile
from benchmarks.queue import Figures, table, verdict


def figures(stored):
    return Figures(confirmed=[0.1] * 3, stored=stored, idle=[0.002], idle_published=[0.001])


def test_the_table_quotes_medians_and_the_fastest_round():
    (row,) = table({"ours": figures([0.5, 0.2, 9.0])}, tasks=1000)

    assert row["all stored, s"] == 0.5
    assert row["fastest, s"] == 0.2
    assert row["tasks per second"] == 2000
    assert row["idle: submit to stored, p50 ms"] == 2.0


def test_the_verdict_compares_the_first_with_every_other():
    rows = table({"ours": figures([0.1]), "theirs": figures([0.4])}, tasks=1000)

    assert verdict(rows) == "The rate of ours is 4.0 times that of theirs."
    assert verdict(rows[:1]) == ""


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 51), (99, 100), (100, 100)])
def test_percentiles_are_of_the_sorted_values(percent, expected):
    assert percentile(range(100, 0, -1), percent) == expected
