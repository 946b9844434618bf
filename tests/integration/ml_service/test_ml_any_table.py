"""A model without a group: blanks, intervals, warnings, drift, and versions without pickles."""

from __future__ import annotations

import asyncio
import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from ml_published import replace_file
from tiny_models import VERSION, houses, publish_houses

from aimq.settings import Settings
from ml_service import drift_routes

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
PREDICTED = "predicted_price"
USUAL = {"area": 100.0, "rooms": 4, "colour": "red", "garden": True, "built": "2015-05-31"}
ODD = {**USUAL, "area": 900, "colour": "teal"}
ODD_TEXT = (
    "area: 900 is outside what was trained on (40.1 to 199.9); "
    "colour: 'teal' was not in the training table"
)


@pytest.fixture(scope="session")
def houses_models(tmp_path_factory):
    models = tmp_path_factory.mktemp("houses_models")
    publish_houses(models)
    return models


@pytest.fixture
def settings(houses_models):
    return Settings(models_dir=houses_models, model_name="houses", rate_limit="1000000/second")


@pytest.fixture
async def service(serve, settings):
    async with serve(settings) as service:
        yield service


def table_of(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(
        rows,
        schema=pa.schema(
            [
                ("area", pa.float64()),
                ("rooms", pa.int64()),
                ("colour", pa.string()),
                ("garden", pa.bool_()),
                ("built", pa.string()),
            ]
        ),
    )


async def post_table(service, table: pa.Table, path: str = "/predict/onnx") -> pa.Table:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    answer = await service.post(path, content=sink.getvalue().to_pybytes(), headers=ARROW)
    assert answer.status_code == 200, answer.text
    return pa.ipc.open_stream(answer.content).read_all()


async def post(service, record, path: str = "/predict/onnx"):
    answer = await service.post(path, json=record)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_answer_has_no_group(service):
    assert list(await post(service, USUAL)) == [PREDICTED, "model_version"]


async def test_a_blank_a_date_and_a_boolean_are_the_same_in_a_record_and_in_a_table(service):
    rows = [USUAL, {**USUAL, "rooms": None}, {**USUAL, "garden": False, "built": "2012-01-01"}]
    singles = [(await post(service, row))[PREDICTED] for row in rows]
    assert len(set(singles)) == 3
    table = table_of(rows)
    assert (await post_table(service, table))[PREDICTED].to_pylist() == pytest.approx(singles)
    days = pa.array([dt.date.fromisoformat(row["built"]) for row in rows])
    with_dates = table.set_column(4, "built", days)
    assert (await post_table(service, with_dates))[PREDICTED].to_pylist() == pytest.approx(singles)


class TestIntervals:
    async def test_low_and_high_lie_a_half_width_around_the_prediction(self, service):
        for share in (50, 90, 99):
            body = await post(service, USUAL, f"/predict/onnx?interval={share}")
            low, high = f"{PREDICTED}_low", f"{PREDICTED}_high"
            assert list(body) == [PREDICTED, low, high, "model_version"]
            value = np.float32(body[PREDICTED])
            assert body[low] == float(str(value - np.float32(share)))
            assert body[high] == float(str(value + np.float32(share)))

    async def test_records_lists_tables_and_paths_agree(self, service):
        rows = houses(100, seed=3).astype(object).where(lambda f: f.notna(), None)
        rows = rows.to_dict("records")
        names = [PREDICTED, f"{PREDICTED}_low", f"{PREDICTED}_high"]
        table = await post_table(service, table_of(rows), "/predict/onnx?interval=80")
        assert table.column_names == [*names, "error", "warning", "model_version"]
        listed = await post(service, rows, "/models/houses/predict?interval=80")
        pickled = await post(service, rows[:3], "/predict/pickle?interval=80")
        for name in names:
            assert table[name].to_pylist() == pytest.approx([row[name] for row in listed])
            assert [row[name] for row in pickled] == pytest.approx(
                [row[name] for row in listed[:3]], abs=1
            )
        single = await post(service, rows[0], "/predict/onnx?x=1&interval=80&y")
        assert [single[name] for name in names] == pytest.approx(
            [listed[0][name] for name in names]
        )

    @pytest.mark.parametrize(
        "asked", ["49", "100", "0", "-90", "90.5", "ninety", "", "9" * 5000, "٩٠", "90&interval=x"]
    )
    async def test_anything_but_a_whole_number_from_50_to_99_is_refused(self, service, asked):
        for path in ("/predict/onnx", "/predict/pickle", "/models/houses/predict"):
            answer = await service.post(f"{path}?interval={asked}", json=USUAL)
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["field"] == "interval"
            assert "from 50 to 99" in answer.json()["detail"]


class TestWarnings:
    async def test_an_unusual_record_says_why_and_a_usual_one_nothing(self, service):
        assert "warning" not in await post(service, USUAL)
        assert (await post(service, ODD))["warning"] == ODD_TEXT
        white = await post(service, {**USUAL, "colour": "white"})
        expected = "colour 'white' with garden true does not occur in the training table"
        assert white["warning"] == expected

    async def test_lists_and_tables_say_the_same_and_only_of_the_row(self, service):
        wrong = {**USUAL, "area": None}
        rows = [USUAL, ODD, wrong, {**USUAL, "colour": "white"}, USUAL]
        texts = [(await post(service, row)).get("warning") for row in (*rows[:2], *rows[3:])]
        listed = await post(service, rows)
        assert [answer.get("warning") for answer in (*listed[:2], *listed[3:])] == texts
        assert "warning" not in listed[2]
        table = await post_table(service, table_of(rows))
        assert table["warning"].to_pylist() == [*texts[:2], None, *texts[2:]]
        assert [error is None for error in table["error"].to_pylist()] == [True] * 2 + [False] + [
            True
        ] * 2

    async def test_they_are_counted_by_model_and_version(self, service):
        for body in (USUAL, ODD, [ODD, USUAL, ODD], [ODD] * 100):
            await post(service, body)
        await post_table(service, table_of([ODD, USUAL, ODD]))
        kinds = {"area": "FP64", "rooms": "INT64", "garden": "BOOL"}
        inputs = [
            {"name": name, "shape": [1], "datatype": kinds.get(name, "BYTES"), "data": [value]}
            for name, value in ODD.items()
        ]
        await post(service, {"inputs": inputs}, "/v2/models/houses/infer")
        text = (await service.get("/metrics")).text
        line = f'aimq_ml_warnings_total{{model="houses",version="{VERSION}"}} 106.0'
        assert line in text


class TestDrift:
    async def drift(self, service) -> tuple[int, dict[str, str]]:
        answer = await service.get("/models/houses/drift")
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["model"], body["version"]) == ("houses", VERSION)
        return body["rows"], {f["name"]: f["verdict"] for f in body["features"]}

    def rows(self, count: int, **changes) -> list[dict]:
        frame = houses(count, seed=8).astype(object)
        return [{**row, **changes} for row in frame.where(frame.notna(), None).to_dict("records")]

    async def test_rows_as_those_of_training_are_stable_and_others_are_not(self, service):
        assert await self.drift(service) == (0, {})
        rows = self.rows(600)
        for row in rows[:50]:
            await post(service, row)
        await post(service, rows[50:100])
        await post_table(service, table_of(rows[100:]))
        names = ["area", "rooms", "colour", "garden", "built"]
        assert await self.drift(service) == (600, dict.fromkeys(names, "stable"))
        await post_table(service, table_of(self.rows(2000, area=190.0, colour="teal")))
        count, verdicts = await self.drift(service)
        assert count == 2600
        moved = {"area": "large", "colour": "large"}
        assert verdicts == {**dict.fromkeys(names, "stable"), **moved}

    async def test_the_last_measurement_is_a_metric(self, service):
        await post_table(service, table_of(self.rows(500, area=190.0)))
        await self.drift(service)
        lines = (await service.get("/metrics")).text.splitlines()
        name = f'aimq_ml_feature_drift{{feature="area",model="houses",version="{VERSION}"}} '
        [value] = [line.removeprefix(name) for line in lines if line.startswith(name)]
        assert float(value) > 1

    async def test_it_is_measured_again_and_again_without_being_asked(
        self, serve, settings, monkeypatch
    ):
        monkeypatch.setattr(drift_routes, "SECONDS", 0.01)
        async with serve(settings) as service:
            await post_table(service, table_of(self.rows(50)))
            while "aimq_ml_feature_drift{" not in (await service.get("/metrics")).text:
                await asyncio.sleep(0.01)

    async def test_another_model_or_version_is_not_found(self, service):
        for path in ("/models/none/drift", "/models/houses/drift?version=20250101T000000Z"):
            assert (await service.get(path)).status_code == 404


class TestAnImportedVersion:
    @pytest.fixture
    async def service(self, serve, tmp_path):
        publish_houses(tmp_path, imported=True)
        async with serve(Settings(models_dir=tmp_path, model_name="houses")) as service:
            yield service

    async def test_it_has_no_pickles_and_says_so(self, service):
        for body in (USUAL, [USUAL]):
            answer = await service.post("/predict/pickle", json=body)
            assert answer.status_code == 501
            assert "imported" in answer.json()["detail"]

    async def test_it_is_served_without_warnings(self, service):
        assert list(await post(service, ODD)) == [PREDICTED, "model_version"]
        table = await post_table(service, table_of([USUAL, ODD]))
        assert table["warning"].to_pylist() == [None, None]

    async def test_it_has_no_intervals_and_says_so(self, service):
        answer = await service.post("/predict/onnx?interval=90", json=USUAL)
        assert answer.status_code == 422
        assert "no prediction intervals" in answer.json()["detail"]

    async def test_its_drift_cannot_be_known(self, service):
        answer = await service.get("/models/houses/drift")
        assert answer.status_code == 404
        assert "no profile" in answer.json()["detail"]


@pytest.mark.parametrize("damage", ["{", '{"rows": 1, "columns": []}'])
async def test_a_version_whose_profile_does_not_fit_is_not_served(serve, tmp_path, damage):
    folder = publish_houses(tmp_path)
    replace_file(folder, "profile.json", damage.encode())
    async with serve(Settings(models_dir=tmp_path, model_name="houses"), ready=False) as service:
        while (
            "profile.json" not in (answer := await service.post("/predict/onnx", json=USUAL)).text
        ):
            await asyncio.sleep(0.01)
    assert answer.status_code == 503
