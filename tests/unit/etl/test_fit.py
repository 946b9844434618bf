from __future__ import annotations

import pickle

import numpy as np
import onnx
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine, make_friedman1

from aimq.errors import Invalid
from aimq.schema.model import Task
from etl.candidates import BOOSTING, FOREST, LINEAR, TRIVIAL, predict
from etl.evaluate import score_classes
from etl.export import check_parity, predict_onnx
from etl.fit import Fitted, Plan, fit


def plan(columns: int, classes: tuple[str, ...] = (), **changed) -> Plan:
    settings = {
        "task": Task.CLASSIFICATION if classes else Task.REGRESSION,
        "classes": classes,
        "coded": (False,) * columns,
        "seed": 7,
        "held_out": 0.2,
        "jobs": 1,
        "trees": 20,
        "leaf": 5,
    }
    return Plan(**{**settings, **changed})


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
    assert result.parity < 1e-4
    assert check_parity(result.onnx, result.pickled, rows) <= result.parity
    np.testing.assert_array_equal(predict_onnx(result.onnx, rows), result.predicted)
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
    result = fitted(matrix, target)
    assert result.chosen == BOOSTING
    check_files(result, matrix, 1)
    assert len(result.intervals) == 99
    assert result.intervals == sorted(result.intervals)
    assert result.coverage[90] == pytest.approx(0.9, abs=0.02)


def test_a_target_of_noise_is_predicted_by_its_median():
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
