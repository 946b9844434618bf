from __future__ import annotations

import pickle

import numpy as np
import onnx
import pytest
from fit_plans import plan
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_friedman1

from aimq.errors import Invalid, ModelRefused
from etl.candidates import BOOSTING, FOREST, LINEAR, TRIVIAL, predict
from etl.evaluate import score_classes
from etl.export import check_parity, export, open_onnx
from etl.fit import Fitted, fit


def fitted(matrix, target, classes=(), **changed) -> Fitted:
    given = plan(matrix.shape[1], classes, **changed)
    return fit(
        matrix.astype(np.float32), target.astype(np.float64), given, lambda name, share: None
    )


def check_files(result: Fitted, matrix, outputs: int) -> None:
    """The ONNX file is as the services need it, and answers as the pickle on every row."""
    model = onnx.load_model_from_string(result.onnx)
    onnx.checker.check_model(model)
    assert {o.version for o in model.opset_import if not o.domain} <= set(range(10, 16))
    assert {o.version for o in model.opset_import if o.domain} <= {1, 2, 3}
    assert model.ir_version == 8
    (given,), (answer,) = model.graph.input, model.graph.output
    assert (given.name, answer.name) == ("features", "prediction")
    shape = [d.dim_value for d in answer.type.tensor_type.shape.dim]
    assert shape == [0, outputs]
    assert answer.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    rows = matrix[result.unseen].astype(np.float32)
    assert result.parity < 1e-5
    assert check_parity(open_onnx(result.onnx), result.pickled, rows) < 1e-5
    np.testing.assert_array_equal(open_onnx(result.onnx)(rows), result.predicted)
    np.testing.assert_allclose(
        predict(result.model, rows), predict(pickle.loads(result.pickled), rows)
    )


def test_diabetes_is_predicted_by_a_line():
    matrix, target = load_diabetes(return_X_y=True)
    result = fitted(matrix, target)
    assert result.chosen == LINEAR
    assert list(result.compared) == [TRIVIAL, LINEAR, BOOSTING, FOREST]
    assert {figures.metric for figures in result.compared.values()} == {"mae"}
    check_files(result, matrix, 1)
    error = np.abs(result.predicted - target[result.unseen]).mean()
    spread = np.abs(target[result.unseen] - np.median(target[result.seen])).mean()
    assert error < 0.75 * spread


def test_breast_cancer_is_a_question_of_two_classes():
    matrix, target = load_breast_cancer(return_X_y=True)
    result = fitted(matrix, target, ("malignant", "benign"))
    check_files(result, matrix, 2)
    scores = score_classes(target[result.unseen], result.predicted)
    assert scores.accuracy > 0.93
    assert scores.roc_auc > 0.98
    assert result.intervals == []
    assert result.coverage == {}


def test_wine_is_one_of_three_classes():
    matrix, target = load_wine(return_X_y=True)
    result = fitted(matrix, target, ("first", "second", "third"))
    check_files(result, matrix, 3)
    scores = score_classes(target[result.unseen], result.predicted)
    assert scores.accuracy > 0.9
    assert scores.roc_auc is None
    np.testing.assert_allclose(result.predicted.sum(axis=1), 1, atol=1e-5)


def test_boosted_trees_win_where_a_line_does_not_fit_and_their_intervals_hold():
    matrix, target = make_friedman1(4_000, noise=1, random_state=0)
    result = fitted(matrix, target, trees=3)
    assert result.chosen == BOOSTING
    check_files(result, matrix, 1)
    assert len(result.intervals) == 99
    assert result.intervals == sorted(result.intervals)
    assert result.coverage[90] == pytest.approx(0.9, abs=0.02)


def test_a_target_of_noise_is_predicted_by_its_median(two_folds):
    random = np.random.default_rng(0)
    matrix, target = random.standard_normal((300, 4)), random.standard_normal(300)
    result = fitted(matrix, target)
    assert result.chosen == TRIVIAL
    check_files(result, matrix, 1)
    np.testing.assert_allclose(result.predicted, np.median(target[result.seen]), rtol=1e-6)


def test_without_a_comparison_the_forest_is_fitted():
    matrix, target = load_diabetes(return_X_y=True)
    result = fitted(matrix, target, compare=False)
    assert result.chosen == FOREST
    assert result.compared == {}
    assert len(result.intervals) == 99
    check_files(result, matrix, 1)


def test_a_class_of_two_rows_is_refused_with_its_name_and_the_groups():
    target = np.array([0.0] * 40 + [1.0] * 2)
    with pytest.raises(Invalid, match=r"Group north: .*'yes' has 2"):
        fitted(np.zeros((42, 1)), target, ("no", "yes"), group="north")


@pytest.fixture
def two_folds(monkeypatch):
    """Fewer folds, where the figures do not matter."""
    monkeypatch.setattr("etl.compare.FOLDS", 2)


def test_the_same_rows_and_plan_give_the_same_bytes(two_folds):
    matrix, target = load_wine(return_X_y=True)
    classes = ("first", "second", "third")
    one, two = (fitted(matrix, target, classes, trees=5, jobs=jobs) for jobs in (1, 2))
    assert one.onnx == two.onnx
    assert one.pickled == two.pickled
    np.testing.assert_array_equal(one.unseen, two.unseen)


def test_classes_are_held_out_by_their_shares():
    target = np.repeat([0.0, 1.0], [90, 10])
    matrix = np.random.default_rng(0).standard_normal((100, 2))
    result = fitted(matrix, target, ("common", "rare"), compare=False)
    assert np.bincount(target[result.unseen].astype(int)).tolist() == [18, 2]
    assert sorted([*result.seen, *result.unseen]) == list(range(100))


def test_a_candidate_that_answers_otherwise_in_onnx_is_not_published(monkeypatch, two_folds):
    def refuse(model, matrix, name):
        if name != "forest":
            raise ModelRefused("They differ.")
        return export(model, matrix, name)

    monkeypatch.setattr("etl.fit.export", refuse)
    matrix, target = load_diabetes(return_X_y=True)
    result = fitted(matrix, target, trees=5)
    assert result.chosen == FOREST
    assert result.compared[LINEAR].why_not == "They differ."
    assert result.compared[FOREST].why_not == ""


def test_a_better_score_that_was_passed_over_says_why(two_folds):
    random = np.random.default_rng(2)
    matrix = random.standard_normal((200, 2))
    target = matrix[:, 0] + 0.3 * matrix[:, 0] ** 2 + 0.5 * random.standard_normal(200)
    result = fitted(matrix, target, trees=40)
    for figures in result.compared.values():
        better = figures.score < result.compared[result.chosen].score
        assert bool(figures.why_not) == better


def test_no_candidate_that_can_be_published_is_said(monkeypatch, two_folds):
    def refuse(model, matrix, name):
        raise ModelRefused("They differ.")

    monkeypatch.setattr("etl.fit.export", refuse)
    matrix, target = load_diabetes(return_X_y=True)
    with pytest.raises(ModelRefused, match="Group north: No model answers"):
        fitted(matrix, target, trees=2, group="north")


def test_progress_goes_from_nothing_to_all(two_folds):
    told = []
    matrix, target = load_diabetes(return_X_y=True)
    fit(
        matrix.astype(np.float32),
        target,
        plan(10, trees=2),
        lambda name, share: told.append((name, share)),
    )
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert {name for name, _ in told} == {TRIVIAL, LINEAR, BOOSTING, FOREST}
