from __future__ import annotations

import numpy as np
import pytest
from fit_plans import plan
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.candidates import BOOSTING, FOREST, LINEAR, TRIVIAL, candidates, on_grid, predict
from etl.export import at_thresholds, check_parity, open_onnx, to_onnx, to_pickle

NAMES = [TRIVIAL, LINEAR, BOOSTING, FOREST]
CODED = (False, False, True)


def table(seed: int, rows: int = 150, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return two numbers and a code, with blanks (-1) and others (-2), and a target from them."""
    random = np.random.default_rng(seed)
    numbers = random.standard_normal((rows, 2)) * scale
    codes = random.integers(-2, 4, rows)
    target = numbers[:, 0] / scale + codes + random.standard_normal(rows) * 0.3
    return np.column_stack([numbers, codes]).astype(np.float32), target


def fitted(name: str, matrix, target, classes: tuple[str, ...] = ()):
    made = plan(3, classes, coded=CODED, trees=4)
    return candidates(made)[name](matrix, target, lambda share: None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [(), ("a", "b"), ("a", "b", "c", "d")], ids=len)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 999), scale=st.sampled_from([1e-3, 1.0, 1e4]))
def test_onnx_answers_as_scikit_learn_at_thresholds_and_for_codes_never_seen(
    name, classes, seed, scale
):
    matrix, target = table(seed, scale=scale)
    if classes:
        cuts = np.quantile(target, np.arange(1, len(classes)) / len(classes))
        target = np.digitize(target, cuts).astype(np.float64)
    model = fitted(name, matrix, target, classes)
    onnx = to_onnx(model, 3)
    unseen = table(seed + 1, scale=scale)[0]
    unseen[:20, 2] = np.arange(20) - 2
    rows = np.concatenate([unseen, at_thresholds(onnx, unseen)])
    assert check_parity(open_onnx(onnx), to_pickle(model), rows) < 1e-5


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=60),
    st.integers(-40, 20),
)
def test_means_of_values_on_the_grid_are_float32(values, power):
    column = np.ldexp(np.array(values, dtype=np.float32), power)[:, None]
    column = column[np.isfinite(column)][:, None].astype(np.float32)
    if len(column) < 2:
        return
    grid = on_grid(column)[:, 0]
    means = (grid[:, None] + grid[None, :]) / 2
    np.testing.assert_array_equal(means, means.astype(np.float32))
    largest = float(np.abs(column).max())
    assert np.abs(grid - column[:, 0]).max() <= largest * 2.0**-22


def test_thresholds_of_the_trees_are_found_with_the_value_just_above():
    matrix, target = table(0)
    onnx = to_onnx(fitted(FOREST, matrix, target), 3)
    rows = at_thresholds(onnx, matrix)
    below, above = np.split(rows, 2)
    changed = below != above
    assert (changed.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(np.nextafter(below[changed], np.float32(np.inf)), above[changed])
    assert len(at_thresholds(to_onnx(fitted(LINEAR, matrix, target), 3), matrix)) == 0


def test_the_trivial_candidate_answers_median_or_shares():
    matrix, target = table(0)
    onnx = to_onnx(fitted(TRIVIAL, matrix, target), 3)
    np.testing.assert_allclose(open_onnx(onnx)(matrix[:2]), np.median(target), rtol=1e-6)
    labels = np.repeat([0.0, 1.0], [120, 30])
    shares = predict(fitted(TRIVIAL, matrix, labels, ("a", "b")), matrix[:1])
    np.testing.assert_allclose(shares, [[0.8, 0.2]])


def test_a_larger_table_or_more_classes_get_larger_leaves():
    assert plan(3, trees=100).leaf_rows(1_000) == 5
    assert plan(3, trees=100).leaf_rows(100_000) == 20
    assert plan(3, ("a", "b", "c", "d"), trees=100).leaf_rows(25_000) == 20
    assert plan(3, trees=100, compare=False).leaf_rows(100_000) == 5


def test_the_budget_bounds_rows_by_the_width_and_the_classes():
    assert plan(15, budget=60).compared_rows == 50_000
    assert plan(15, ("a", "b"), budget=60).compared_rows == 50_000
    assert plan(15, ("a", "b", "c", "d", "e"), budget=60).compared_rows == 10_000
    assert plan(15, budget=600).tree_rows == 60_000
    assert plan(15, budget=0.1).tree_rows == 500
    assert plan(15, compare=False).tree_rows is None
