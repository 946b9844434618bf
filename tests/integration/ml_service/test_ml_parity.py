"""ONNX, pickle and RedisAI answer alike, over HTTP, on every row that no forest has learnt from."""

from __future__ import annotations

import httpx
import numpy as np
import pyarrow as pa
import pytest
from ml_published import version_folder
from redisai_server.process import RedisAiServer

from aimq import published
from benchmarks.service import ml_service
from etl.clean import clean
from etl.generate import generate
from etl.train import split

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
PRICE = "predicted_price"
ROWS = 900  # of the table that the shared models were trained on


@pytest.fixture
def held_out(trained_models, schema) -> pa.Table:
    """The held-out rows of all groups, as the pipeline split them off."""
    settings = published.read_manifest(version_folder(trained_models)).settings
    columns = clean(schema, generate(schema, ROWS, settings["seed"])).columns
    chosen = np.zeros(len(columns.groups), np.bool_)
    for index in range(len(schema.groups)):
        own = np.flatnonzero(columns.groups == index)
        chosen[own[split(len(own), settings["held_out"], settings["seed"])[1]]] = True
    return columns.table(chosen)


def predict(url: str, table: pa.Table, served_by: str) -> np.ndarray:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    answer = httpx.post(url, content=sink.getvalue().to_pybytes(), headers=ARROW, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-served-by"] == served_by
    scored = pa.ipc.open_stream(answer.content).read_all()
    assert scored.column("error").null_count == table.num_rows
    return scored.column(PRICE).to_numpy()


def test_every_held_out_row_has_the_same_answer_from_all_three(trained_models, tmp_path, held_out):
    (tmp_path / "remote").mkdir()
    with (
        RedisAiServer() as redisai,
        ml_service(trained_models, tmp_path) as here,
        ml_service(trained_models, tmp_path / "remote", AIMQ_REDISAI_URL=redisai.url) as remote,
    ):
        onnx = predict(f"{here.url}/predict/onnx", held_out, "onnxruntime")
        pickled = predict(f"{here.url}/predict/pickle", held_out, "pickle")
        on_redisai = predict(f"{remote.url}/predict/onnx", held_out, "redisai")
    assert held_out.num_rows > 100
    assert set(held_out.column("model_group").to_pylist()) == {"A", "B", "C"}
    assert np.isfinite(onnx).all()
    assert len(np.unique(onnx)) > held_out.num_rows // 2
    # the order in which trees are added up, in float32, is the library's and the threads' choice
    np.testing.assert_allclose(on_redisai, onnx, rtol=1e-6)
    np.testing.assert_allclose(pickled, onnx, rtol=1e-6)
