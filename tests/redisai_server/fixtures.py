"""Fixtures: the stand-in server and small forests. Named in a test module's `pytest_plugins`."""

from __future__ import annotations

import numpy as np
import pytest
from redisai_server.onnx_models import Classifier, Forest, publish, without_labels
from redisai_server.process import RedisAiServer
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor


@pytest.fixture(scope="session")
def forests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Forest]:
    """One small forest per model group, with 4, 7 and 12 features."""
    folder = tmp_path_factory.mktemp("forests")
    random = np.random.default_rng(11)
    trained = {}
    for group, features in (("A", 4), ("B", 7), ("C", 12)):
        matrix = random.normal(size=(400, features)).astype(np.float32)
        target = matrix @ random.normal(size=features) * 100 + 1000
        regressor = RandomForestRegressor(8, min_samples_leaf=3, random_state=3)
        regressor.fit(matrix, target)
        model = to_onnx(regressor, matrix[:1], target_opset={"": 15, "ai.onnx.ml": 1})
        model.ir_version = 8
        file = publish(
            folder, model.SerializeToString(), group=group, features=features, version="v1"
        )
        trained[group] = Forest(file, regressor)
    return trained


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A small forest of three classes and four features."""
    matrix = np.random.default_rng(12).normal(size=(400, 4)).astype(np.float32)
    labels = np.digitize(matrix[:, 0] + matrix[:, 1], [-0.7, 0.7])
    forest = RandomForestClassifier(8, min_samples_leaf=3, random_state=3).fit(matrix, labels)
    options = {id(forest): {"zipmap": False}}
    opsets = {"": 15, "ai.onnx.ml": 1}
    content = without_labels(to_onnx(forest, matrix[:1], target_opset=opsets, options=options))
    folder = tmp_path_factory.mktemp("classifier")
    file = publish(folder, content, group="all", features=4, version="v1", outputs=3)
    return Classifier(file, forest)


@pytest.fixture(scope="module")
def redisai_server():
    """A stand-in server, empty at the start of the module."""
    with RedisAiServer() as server:
        yield server
