"""Pickles answer numbers, or a probability for each class of the schema."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from redisai_server.onnx_models import publish
from sklearn.linear_model import LinearRegression, LogisticRegression

from aimq.errors import ModelRefused
from ml_service.runtimes.pickle import PickleRuntime

MATRIX = np.random.default_rng(3).normal(size=(90, 2)).astype(np.float32)


@pytest.fixture
def load(tmp_path):
    def load(estimator, outputs=1):
        content = pickle.dumps(estimator)
        file = publish(
            tmp_path, content, group="all", features=2, version=f"v{outputs}", outputs=outputs
        )
        return PickleRuntime().load(file)

    return load


@pytest.fixture
def classifier():
    return LogisticRegression().fit(MATRIX, np.digitize(MATRIX[:, 0], [-0.5, 0.5]))


def test_a_model_of_numbers_answers_one_per_row(load):
    # the target as one column, as a pipeline may have been fitted
    estimator = LinearRegression().fit(MATRIX, MATRIX.sum(axis=1)[:, None])
    values = load(estimator).predict(MATRIX).values
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, MATRIX.sum(axis=1), atol=1e-5)


async def test_a_model_of_classes_answers_a_probability_for_each(load, classifier):
    model = load(classifier, 3)
    values = model.predict(MATRIX).values
    assert (values.dtype, values.shape) == (np.float32, (90, 3))
    np.testing.assert_allclose(values, classifier.predict_proba(MATRIX), atol=1e-6)
    assert (await model.predict_async(MATRIX)).values.tolist() == values.tolist()


@pytest.mark.parametrize("outputs", [2, 4])
def test_other_classes_than_the_schema_has_are_refused(load, classifier, outputs):
    with pytest.raises(ModelRefused, match="has 3 classes"):
        load(classifier, outputs)


def test_a_regressor_in_the_place_of_a_classifier_is_refused(load):
    with pytest.raises(ModelRefused):
        load(LinearRegression().fit(MATRIX, MATRIX[:, 0]), 2)
