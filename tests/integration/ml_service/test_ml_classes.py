"""A model of classes answers the class and its probability, however it is asked."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest
from tiny_models import VERSION, publish_weather, weather

from aimq.settings import Settings

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
CLASSES = {"clear", 'cloudy "grey"', "50% rain"}


@pytest.fixture(scope="session")
def weather_models(tmp_path_factory):
    models = tmp_path_factory.mktemp("weather_models")
    publish_weather(models)
    return models


@pytest.fixture
async def service(serve, weather_models):
    async with serve(Settings(models_dir=weather_models, model_name="weather")) as service:
        yield service


@pytest.fixture(scope="session")
def rows():
    return weather(200, seed=9).to_dict("records")


async def post_arrow(service, table: pa.Table, path: str = "/predict/onnx"):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return await service.post(path, content=sink.getvalue().to_pybytes(), headers=ARROW)


def read(answer) -> pa.Table:
    assert answer.status_code == 200, answer.text
    return pa.ipc.open_stream(answer.content).read_all()


async def test_a_record_is_answered_by_its_class_and_the_probability(service, rows):
    answer = await service.post("/predict/onnx", json=rows[0])
    body = answer.json()
    assert list(body) == ["predicted_sky", "probability", "region", "model_version"]
    assert body["predicted_sky"] in CLASSES
    assert 1 / 3 <= body["probability"] <= 1
    assert (body["region"], body["model_version"]) == (rows[0]["region"], VERSION)


async def test_records_lists_tables_and_pickles_agree(service, rows):
    singles = [(await service.post("/predict/onnx", json=row)).json() for row in rows]
    assert {single["predicted_sky"] for single in singles} == CLASSES
    listed = (await service.post("/predict/onnx", json=rows)).json()
    pickled = (await service.post("/predict/pickle", json=rows)).json()
    for answers in (listed, pickled):
        for name in ("predicted_sky", "region", "model_version"):
            assert [a[name] for a in answers] == [a[name] for a in singles]
        probabilities = [answer["probability"] for answer in answers]
        assert probabilities == pytest.approx([a["probability"] for a in singles], abs=1e-5)
    table = read(await post_arrow(service, pa.Table.from_pylist(rows)))
    assert table.column_names == ["predicted_sky", "probability", "error", "model_version"]
    assert pa.types.is_dictionary(table.schema.field("predicted_sky").type)
    for name in ("predicted_sky", "probability"):
        found, expected = table[name].to_pylist(), [answer[name] for answer in singles]
        assert found == (expected if name == "predicted_sky" else pytest.approx(expected))


async def test_a_wrong_row_of_a_table_has_its_error_and_no_class(service, rows):
    wrong = [{**rows[0], "pressure": None}, rows[1], {**rows[2], "region": "west"}]
    table = read(await post_arrow(service, pa.Table.from_pylist(wrong)))
    assert [error is None for error in table["error"].to_pylist()] == [False, True, False]
    for name in ("predicted_sky", "probability", "model_version"):
        assert [value is None for value in table[name].to_pylist()] == [True, False, True]


async def test_a_table_without_rows_has_the_columns_of_one_with(service, rows):
    table = pa.Table.from_pylist(rows)
    full, empty = read(await post_arrow(service, table)), read(await post_arrow(service, table[:0]))
    assert empty.num_rows == 0
    assert empty.schema == full.schema


async def test_there_is_no_interval_of_a_class(service, rows):
    for body in (rows[0], rows[:3]):
        answer = await service.post("/predict/onnx?interval=90", json=body)
        assert answer.status_code == 422
        assert "probability" in answer.json()["detail"]
    answer = await post_arrow(service, pa.Table.from_pylist(rows), "/predict/onnx?interval=90")
    assert answer.status_code == 422


async def test_the_inference_protocol_answers_class_and_probability(service, rows):
    expected = (await service.post("/predict/onnx", json=rows[:5])).json()
    inputs = [
        {
            "name": name,
            "shape": [5],
            "datatype": "BYTES" if name == "region" else "FP64",
            "data": [row[name] for row in rows[:5]],
        }
        for name in rows[0]
    ]
    answer = await service.post("/v2/models/weather/infer", json={"inputs": inputs})
    found = {output["name"]: output for output in answer.json()["outputs"]}
    assert found["predicted_sky"]["data"] == [each["predicted_sky"] for each in expected]
    assert found["probability"]["data"] == [each["probability"] for each in expected]
    described = (await service.get("/v2/models/weather")).json()["outputs"]
    assert [(o["name"], o["datatype"]) for o in described] == [
        ("predicted_sky", "BYTES"),
        ("probability", "FP64"),
    ]
    asked = {"inputs": inputs, "outputs": [{"name": "probability"}]}
    answer = await service.post("/v2/models/weather/infer", content=msgspec.json.encode(asked))
    assert [output["name"] for output in answer.json()["outputs"]] == ["probability"]
