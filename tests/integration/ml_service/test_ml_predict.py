"""One record, a list, an Arrow stream; ONNX and pickle: the same numbers, and clear refusals."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from aimq.settings import Settings

ARROW = "application/vnd.apache.arrow.stream"
JSON = {"content-type": "application/json"}


def stream(table: pa.Table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def read(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(content).read_all()


@pytest.fixture
async def service(serve, trained_models):
    settings = Settings(models_dir=trained_models, rate_limit="1000000/second")
    async with serve(settings) as service:
        yield service


async def post_arrow(service, table, way="onnx"):
    return await service.post(
        f"/predict/{way}", content=stream(table), headers={"content-type": ARROW}
    )


async def test_onnx_pickle_lists_and_arrow_agree_on_a_thousand_varied_rows(service, records):
    rows = records(1200, seed=1)
    singles = [await service.post("/predict/onnx", json=row) for row in rows]
    assert {answer.status_code for answer in singles} == {200}
    onnx = [answer.json()["predicted_price"] for answer in singles]
    for way, tolerance in (("onnx", 0.0), ("pickle", 1e-4)):
        listed = []
        for start in range(0, len(rows), 400):
            answer = await service.post(f"/predict/{way}", json=rows[start : start + 400])
            listed += answer.json()
        assert [item["model_group"] for item in listed] == [row["model_group"] for row in rows]
        values = [item["predicted_price"] for item in listed]
        assert values == pytest.approx(onnx, rel=tolerance, abs=0)
        arrow = await post_arrow(service, pa.Table.from_pylist(rows), way)
        assert arrow.headers["content-type"] == ARROW
        assert read(arrow.content)["predicted_price"].to_pylist() == values
    some = [await service.post("/predict/pickle", json=row) for row in rows[:20]]
    assert [answer.json()["predicted_price"] for answer in some] == pytest.approx(
        onnx[:20], rel=1e-4
    )
    assert len(set(onnx)) > 100


async def test_an_answer_says_the_group_the_version_and_who_served_it(service, record):
    for way, served_by in (("onnx", "onnxruntime"), ("pickle", "pickle")):
        answer = await service.post(f"/predict/{way}", json=record)
        body = answer.json()
        assert list(body) == ["predicted_price", "model_group", "model_version"]
        assert body["model_group"] == record["model_group"]
        assert answer.headers["x-served-by"] == served_by


async def test_in_a_list_one_wrong_record_does_not_spoil_the_others(service, record):
    answer = await service.post("/predict/onnx", json=[record, {**record, "doors": -1}, 3, record])
    good, wrong, no_record, same = answer.json()
    assert answer.status_code == 200
    assert good == same
    assert "doors" in wrong["error"]
    assert wrong["errors"][0]["field"] == "doors"
    assert "JSON object" in no_record["error"]


async def test_an_empty_list_is_answered_by_an_empty_list(service):
    answer = await service.post("/predict/onnx", json=[])
    assert (answer.status_code, answer.json()) == (200, [])


async def test_in_a_stream_wrong_rows_carry_their_error_in_place(service, records):
    rows = records(30, seed=3)
    rows[4]["model_group"] = "Z"
    rows[9]["kilometers"] = None
    answer = read((await post_arrow(service, pa.Table.from_pylist(rows))).content)
    assert answer.num_rows == 30
    wrong = [n for n, error in enumerate(answer["error"].to_pylist()) if error is not None]
    assert wrong == [4, 9]
    missing = [n for n, value in enumerate(answer["predicted_price"].to_pylist()) if value is None]
    assert missing == wrong
    versions = answer["model_version"].to_pylist()
    assert [n for n, version in enumerate(versions) if version is None] == wrong


async def test_a_stream_may_hold_text_numbers_dictionaries_extra_columns_and_no_rows(
    service, records
):
    rows = records(50, seed=4)
    plain = pa.Table.from_pylist(rows)
    text = [{**row, "kilometers": str(row["kilometers"])} for row in rows]
    varied = pa.Table.from_pylist(text).append_column("note", pa.array(["x"] * 50))
    at = varied.schema.get_field_index("color")
    varied = varied.set_column(at, "COLOR ", varied["color"].dictionary_encode())
    expected = read((await post_arrow(service, plain)).content)
    assert read((await post_arrow(service, varied)).content).equals(expected)
    assert read((await post_arrow(service, plain.slice(0, 0))).content).num_rows == 0


async def test_a_stream_without_a_column_is_refused_by_its_name(service, records):
    table = pa.Table.from_pylist(records(3)).drop_columns(["doors", "color"])
    answer = await post_arrow(service, table)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["color", "doors"]


@pytest.mark.parametrize(
    "odd",
    [
        pa.array([[1]] * 3),
        pa.array([b"x"] * 3),
        pa.array([{"a": 1}] * 3),
        pa.array([0] * 3).cast("date64"),
    ],
    ids=["list", "binary", "struct", "date"],
)
async def test_a_column_of_neither_text_nor_numbers_is_refused_by_its_name(service, records, odd):
    table = pa.Table.from_pylist(records(3))
    at = table.schema.get_field_index("color")
    answer = await post_arrow(service, table.set_column(at, "color", odd))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "color"


async def test_compressed_streams_are_refused_before_they_are_unpacked(service, records):
    table = pa.Table.from_pylist(records(3000))
    for codec in ("zstd", "lz4"):
        answer = await service.post(
            "/predict/onnx",
            content=stream(table, compression=codec),
            headers={"content-type": ARROW},
        )
        assert answer.status_code == 415
        assert "uncompressed" in answer.json()["detail"]


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 100, 1000, -9, -1000])
async def test_a_damaged_stream_is_the_clients_fault(service, records, cut):
    content = stream(pa.Table.from_pylist(records(100)))
    for body in (content[:cut], content[:200] + b"\xff" * 64 + content[264:]):
        answer = await service.post("/predict/onnx", content=body, headers={"content-type": ARROW})
        assert answer.status_code in {200, 400, 413, 415, 422}


async def test_bytes_changed_at_random_in_a_stream_never_make_a_5xx(service, records):
    import random  # noqa: PLC0415 - of this test only

    content = stream(pa.Table.from_pylist(records(20)))
    chance = random.Random(7)
    for _ in range(300):
        body = bytearray(content)
        for _ in range(chance.randint(1, 5)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        answer = await service.post(
            "/predict/onnx", content=bytes(body), headers={"content-type": ARROW}
        )
        assert answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"nonsense", 400),
        (b'{"a": NaN}', 400),
        (b'{"a": "\xff"}', 400),
        (b'{"a": "\\ud800"}', 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 50_000, 400),
        (b'"text"', 422),
        (b"1" * 50_000, 400),
        (b"{}", 422),
        (b"null", 422),
        (b'"' + b"x" * 1_000_000 + b'"', 422),
        (b" " * (1024 * 1024 + 1), 413),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else str(value),
)
async def test_a_bad_body_is_the_clients_fault_and_the_answer_is_short(service, body, status):
    answer = await service.post("/predict/onnx", content=body, headers=JSON)
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 10_000


@pytest.mark.parametrize(
    "wrong", ["1" * 4000, "1e400", "-1", "1e300", "true", "null", '"12"', "[1]", "{}", "0.5"]
)
async def test_an_absurd_number_is_refused_by_the_name_of_its_field(service, record, wrong):
    body = json.dumps({**record, "age_in_months": "@"}).replace('"@"', wrong)
    answer = await service.post("/predict/onnx", content=body, headers=JSON)
    assert answer.status_code in {400, 422}
    if answer.status_code == 422:
        assert [error["field"] for error in answer.json()["errors"]] == ["age_in_months"]


@pytest.mark.parametrize("model", ["180", "180.0", '"180"', '" 180.0 "'])
async def test_a_category_named_by_a_number_may_be_given_as_the_number(service, record, model):
    expected = await service.post(
        "/predict/onnx", json={**record, "model_group": "A", "model": "180"}
    )
    assert expected.status_code == 200
    body = json.dumps({**record, "model_group": "A", "model": "@"}).replace('"@"', model)
    answer = await service.post("/predict/onnx", content=body, headers=JSON)
    assert (answer.status_code, answer.json()) == (200, expected.json())


@pytest.mark.parametrize("kind", [pa.int64(), pa.float32(), pa.string(), pa.large_string()])
async def test_an_arrow_column_of_numbers_is_read_as_categories_named_by_them(
    service, records, kind
):
    models = {"A": "180", "B": "250", "C": "350"}
    rows = [{**row, "model": models[row["model_group"]]} for row in records(40, seed=9)]
    table = pa.Table.from_pylist(rows)
    place = table.column_names.index("model")
    numbers = table.set_column(place, "model", table["model"].cast(pa.int64()).cast(kind))
    expected = read((await post_arrow(service, table)).content)
    assert read((await post_arrow(service, numbers)).content) == expected
    assert expected["error"].null_count == len(rows)


async def test_an_unknown_group_is_refused_with_the_names_of_the_groups(service, record):
    answer = await service.post("/predict/onnx", json={**record, "model_group": "Z"})
    assert answer.status_code == 422
    assert "one of A, B, C" in answer.json()["errors"][0]["message"]


async def test_another_content_type_is_refused_with_what_is_read(service):
    answer = await service.post("/predict/onnx", data={"a": "b"})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


async def test_another_method_and_another_path_are_problem_documents(service):
    for method, path, status in (("GET", "/predict/onnx", 405), ("POST", "/predict/none", 404)):
        answer = await service.request(method, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(serve, trained_models):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 65536
            yield b" " * 65536

    async with serve(Settings(models_dir=trained_models, max_body_kb=256)) as service:
        answer = await service.post("/predict/onnx", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert sent <= 6 * 65536


async def test_more_rows_than_allowed_are_refused(serve, trained_models, records):
    table = pa.Table.from_pylist(records(11))
    async with serve(Settings(models_dir=trained_models, max_rows=10)) as service:
        answer = await post_arrow(service, table)
    assert answer.status_code == 413
    assert "10 rows" in answer.json()["detail"]


async def test_what_is_served_is_counted(service, record):
    await service.post("/predict/onnx", json=record)
    await service.post("/predict/onnx", json=[record] * 3)
    await service.post("/predict/onnx", json={})
    text = (await service.get("/metrics")).text
    assert 'aimq_ml_requests_total{route="/predict/onnx",status="200"} 2.0' in text
    assert 'aimq_ml_requests_total{route="/predict/onnx",status="422"} 1.0' in text
    assert 'aimq_ml_rows_total{endpoint="onnx",model="used_cars",runtime="onnxruntime"}' in text
    assert "aimq_ml_request_seconds_bucket" in text


async def test_rows_are_counted_however_they_came(service, records):
    rows = records(5, seed=8)
    bad = {**rows[0], "doors": -1}
    await service.post("/predict/onnx", json=rows[0])
    await service.post("/predict/onnx", json=[*rows[:3], bad])
    await service.post("/predict/onnx", json=rows * 100)
    await post_arrow(service, pa.Table.from_pylist(rows))
    await service.post("/predict/pickle", json=rows[:2])
    text = (await service.get("/metrics")).text
    rows_of = 'aimq_ml_rows_total{{endpoint="{}",model="used_cars",runtime="{}"}} {}'
    assert rows_of.format("onnx", "onnxruntime", "509.0") in text
    assert rows_of.format("pickle", "pickle", "2.0") in text
