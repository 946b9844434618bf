"""Models made elsewhere, imported and served beside the trained ones."""

from __future__ import annotations

import numpy as np
import pytest
import tomli_w
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression, LogisticRegression

from aimq.settings import Settings
from etl import import_onnx

FEATURES = [
    {"name": "area", "type": "number", "minimum": 0, "maximum": 500},
    {"name": "garden", "type": "boolean"},
]
NUMBER = {"name": "price", "prediction": "predicted_price"}
CLASSES = {
    "name": "sold",
    "task": "classification",
    "prediction": "predicted_sold",
    "classes": ["no", "yes"],
}


@pytest.fixture
def settings(models):
    return Settings(models_dir=models)


def imported(settings, tmp_path, name, target, model) -> None:
    (tmp_path / "schema.toml").write_text(
        tomli_w.dumps({"name": name, "target": target, "features": FEATURES})
    )
    source = tmp_path / "model.onnx"
    source.write_bytes(model.SerializeToString())
    import_onnx.run(settings, source, tmp_path / "schema.toml")


def matrix() -> np.ndarray:
    random = np.random.default_rng(6)
    columns = random.uniform(0, 500, 200), random.integers(0, 2, 200)
    return np.column_stack(columns).astype(np.float32)


async def test_a_number_is_answered(serve, settings, tmp_path):
    rows = matrix()
    model = LinearRegression().fit(rows, rows @ [10, 500])
    imported(settings, tmp_path, "houses", NUMBER, to_onnx(model, rows[:1]))
    async with serve(settings) as service:
        record = {"area": 120, "garden": True}
        answer = await service.post("/models/houses/predict", json=record)
        assert answer.status_code == 200, answer.text
        assert answer.json()["predicted_price"] == pytest.approx(1700, rel=1e-3)


async def test_a_class_is_answered_with_its_probability(serve, settings, tmp_path):
    rows = matrix()
    model = LogisticRegression().fit(rows, np.where(rows[:, 0] > 250, "yes", "no"))
    imported(settings, tmp_path, "sales", CLASSES, to_onnx(model, rows[:1]))
    async with serve(settings) as service:
        record = {"area": 400, "garden": False}
        answer = (await service.post("/models/sales/predict", json=record)).json()
        assert answer["predicted_sold"] == "yes"
        assert answer["probability"] > 0.9


async def test_what_needs_a_training_is_said_to_be_absent(serve, settings, tmp_path):
    rows = matrix()
    model = LinearRegression().fit(rows, rows[:, 0])
    imported(settings, tmp_path, "houses", NUMBER, to_onnx(model, rows[:1]))
    async with serve(settings) as service:
        listed = (await service.get("/models")).json()["models"]
        mine = next(entry for entry in listed if entry["name"] == "houses")
        assert mine["report"] is False
        assert not mine["error"]
        assert (await service.get("/models/houses/report")).status_code == 404
        wide = "/models/houses/predict?interval=90"
        asked = await service.post(wide, json={"area": 120, "garden": True})
        assert asked.status_code == 422


async def test_the_report_of_a_training_is_shown_under_a_policy_that_it_keeps(serve, settings):
    async with serve(settings) as service:
        page = await service.get("/models/used_cars/report")
        assert page.status_code == 200
        assert "Training report" in page.text
        assert "<script" not in page.text
        assert "img-src data:" in page.headers["Content-Security-Policy"]
