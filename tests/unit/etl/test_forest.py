from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestRegressor

from aimq.errors import ModelRefused
from aimq.published import current_version
from etl.evaluate import Scores, baseline, baseline_classes, log_losses, score, score_classes
from etl.export import check_parity, open_onnx, to_onnx, to_pickle
from etl.train import split, train


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    matrix = random.standard_normal((400, 3)).astype(np.float32)
    return matrix, np.exp(matrix[:, 0]) * 100 + random.standard_normal(400)


def forest(data, trees=7, seed=42, told=lambda fitted: None) -> RandomForestRegressor:
    return train(*data, trees=trees, leaf=5, seed=seed, jobs=1, progress=told)


def test_fitting_a_few_trees_at_a_time_gives_the_forest_fitted_in_one_go(data):
    told: list[int] = []
    stepwise = forest(data, trees=45, told=told.append)
    whole = RandomForestRegressor(n_estimators=45, random_state=42, min_samples_leaf=5)
    whole.fit(*data)
    unseen = np.random.default_rng(1).standard_normal((500, 3)).astype(np.float32)
    np.testing.assert_array_equal(stepwise.predict(unseen), whole.predict(unseen))
    assert told[-1] == 45
    assert told == sorted(set(told))
    assert len(told) > 10


def test_thresholds_are_float32_and_no_row_changes_its_leaf(data):
    narrow = forest(data)
    whole = RandomForestRegressor(n_estimators=7, random_state=42, min_samples_leaf=5).fit(*data)
    exact = whole.estimators_[0].tree_.threshold
    assert (exact.astype(np.float32) != exact).any()
    for tree in narrow.estimators_:
        np.testing.assert_array_equal(tree.tree_.threshold.astype(np.float32), tree.tree_.threshold)
    # The values just at the thresholds are where the two could part.
    edges = np.repeat(exact.astype(np.float32)[:, None], 3, axis=1)
    np.testing.assert_array_equal(narrow.apply(edges), whole.apply(edges))


def test_onnx_and_pickle_answer_alike_at_the_very_thresholds(data):
    trained = forest(data, trees=20)
    edges = np.concatenate([tree.tree_.threshold for tree in trained.estimators_])
    around = np.concatenate([edges, np.nextafter(edges, 9), np.nextafter(edges, -9)])
    matrix = np.repeat(around.astype(np.float32)[:, None], 3, axis=1)
    assert check_parity(open_onnx(to_onnx(trained, 3)), to_pickle(trained), matrix) < 2e-6


def test_files_that_differ_are_refused(data):
    one, other = forest(data), forest(data, seed=1)
    with pytest.raises(ModelRefused, match="nothing is published"):
        check_parity(open_onnx(to_onnx(one, 3)), to_pickle(other), data[0])


@pytest.mark.parametrize("group", ["A", "B", "C"])
def test_published_onnx_can_be_loaded_by_onnx_runtime_1_11(trained_models: Path, group: str):
    folder = trained_models / "used_cars" / current_version(trained_models, "used_cars")
    model = onnx.load(folder / f"{group}.onnx")
    onnx.checker.check_model(model)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    assert opsets.pop("", 15) <= 15
    assert opsets in ({"ai.onnx.ml": 1}, {"ai.onnx.ml": 2})
    assert model.ir_version == 8
    (given_,), (answer,) = model.graph.input, model.graph.output
    assert given_.name == "features"
    shape = given_.type.tensor_type
    assert shape.elem_type == onnx.TensorProto.FLOAT
    assert shape.shape.dim[1].dim_value == 11
    assert not shape.shape.dim[0].dim_value
    assert answer.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert answer.type.tensor_type.shape.dim[1].dim_value == 1


@pytest.mark.parametrize("group", ["A", "B", "C"])
def test_a_published_pickle_predicts_on_one_thread(trained_models: Path, group: str):
    folder = trained_models / "used_cars" / current_version(trained_models, "used_cars")
    model = pickle.loads((folder / f"{group}.pkl").read_bytes())
    assert model.n_jobs is None
    assert model.predict(np.ones((2, 11), dtype=np.float32)).shape == (2,)


@given(st.integers(2, 500), st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_a_split_is_disjoint_complete_and_repeatable(rows: int, held_out: float, seed: int):
    seen, unseen = split(rows, held_out, seed)
    assert len(seen) >= 1
    assert len(unseen) >= 1
    assert sorted([*seen, *unseen]) == list(range(rows))
    np.testing.assert_array_equal(split(rows, held_out, seed)[1], unseen)


def test_scores_are_those_of_the_textbook():
    scores = score(np.array([1.0, 2.0, 3.0, 0.0]), np.array([1.0, 2.0, 4.0, 1.0]))
    assert scores == Scores(r2=1 - 2 / 5, mae=0.5, mape=pytest.approx(1 / 9))


def test_the_baseline_predicts_the_median_of_the_training_rows():
    assert baseline(np.array([1.0, 2.0, 90.0]), np.array([2.0, 4.0])).mae == 1.0


def test_a_truth_that_does_not_vary_has_no_variance_to_explain():
    assert score(np.zeros(3), np.ones(3)) == Scores(r2=0.0, mae=1.0, mape=0.0)


def test_scores_of_classes_are_those_of_the_textbook():
    truth = np.array([0.0, 0.0, 1.0, 1.0])
    sure = np.array([0.1, 0.4, 0.35, 0.8])
    scores = score_classes(truth, np.column_stack([1 - sure, sure]))
    assert scores.accuracy == 0.75
    assert scores.roc_auc == 0.75
    assert scores.log_loss == pytest.approx(-np.log([0.9, 0.6, 0.35, 0.8]).mean())


def test_a_sure_and_wrong_answer_costs_a_finite_loss():
    assert log_losses(np.array([1.0]), np.array([[1.0, 0.0]]))[0] == pytest.approx(15.94, abs=0.01)


def test_roc_auc_needs_two_classes_and_rows_of_both():
    assert score_classes(np.zeros(2), np.full((2, 2), 0.5)).roc_auc is None
    assert score_classes(np.arange(3.0), np.eye(3)).roc_auc is None


def test_the_baseline_of_classes_predicts_the_shares_of_the_training_rows():
    scores = baseline_classes(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 1.0]), 2)
    assert scores.accuracy == 0.5
    assert scores.log_loss == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2)
    assert scores.roc_auc == 0.5
