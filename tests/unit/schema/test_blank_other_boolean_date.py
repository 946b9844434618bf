"""What the matrix holds for missing values, other categories, booleans and dates."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from aimq.errors import ClientError, Invalid, WorkbookError
from aimq.schema import RecordEncoder, Task, match_columns, read_columns
from aimq.schema.jsonschema import answer_schema, example, record_schema
from aimq.schema.model import parse_schema
from aimq.workbook.columns import check_columns
from ml_service.arrow_streams import read_stream
from ml_service.v2_tensors import InferRequest, Tensor, metadata, read_rows

SOURCE: dict[str, Any] = {
    "name": "houses",
    "target": {"name": "sold", "task": "classification", "classes": ["no", "yes"]},
    "features": [
        {"name": "area", "type": "number", "blank": True, "fill": 93.5},
        {"name": "rooms", "type": "integer"},
        {
            "name": "colour", "type": "category", "categories": ["red", "blue"],
            "blank": True, "other": True,
        },
        {"name": "garden", "type": "boolean", "blank": True},
        {"name": "built", "type": "date", "blank": True, "fill": dt.date(2001, 2, 3)},
    ],
}  # fmt: skip
SCHEMA = parse_schema(SOURCE)
ENCODER = RecordEncoder(SCHEMA)
FULL = {"area": 50, "rooms": 3, "colour": "BLUE", "garden": True, "built": "2024-05-31"}
COLUMNS = (
    "area", "area.blank", "rooms", "colour", "garden",
    "built.days", "built.month", "built.weekday", "built.blank",
)  # fmt: skip
DAYS = (dt.date(2024, 5, 31) - dt.date(2000, 1, 1)).days
FULL_ROW = [50, 0, 3, 1, 1, DAYS, 5, 4, 0]  # 31 May 2024 was a Friday
BLANK_ROW = [93.5, 1, 3, -1, -1, 399, 2, 5, 1]  # 3 February 2001 was a Saturday


def row_of(record: dict[str, Any]) -> list[float]:
    return ENCODER.encode({**FULL, **record}).row


def test_the_columns_of_the_matrix_are_named_and_told_apart():
    assert SCHEMA.matrix_columns == COLUMNS
    assert [name for name, coded in zip(COLUMNS, SCHEMA.coded, strict=True) if coded] == [
        "colour", "garden",
    ]  # fmt: skip
    assert (SCHEMA.columns, SCHEMA.required) == (tuple(FULL), ("rooms",))
    assert (SCHEMA.group, SCHEMA.groups) == (None, ("all",))
    assert (SCHEMA.task, SCHEMA.classes, SCHEMA.outputs) == (Task.CLASSIFICATION, ("no", "yes"), 2)


def test_the_published_encoding_says_what_stands_for_a_missing_value():
    encoder = SCHEMA.encoder()
    assert encoder["columns"] == list(COLUMNS)
    assert encoder["codes"]["colour"] == {"red": 0, "blue": 1}
    assert encoder["codes"]["garden"]["yes"] == 1
    assert encoder["blank"]["area"] == [93.5, 1.0]


def test_a_record_is_encoded_by_the_columns_of_the_matrix():
    assert ENCODER.encode(FULL).row == FULL_ROW
    assert ENCODER.encode(FULL).group == "all"


@pytest.mark.parametrize(
    "record",
    [{"rooms": 3}, {**dict.fromkeys(FULL), "rooms": 3}, {**dict.fromkeys(FULL, " "), "rooms": 3}],
)
def test_absent_null_and_blank_text_are_missing_values(record: dict[str, Any]):
    assert ENCODER.encode(record).row == BLANK_ROW
    frame = pd.DataFrame({name: pd.Series([v], dtype=object) for name, v in record.items()})
    assert [column[0] for column in read_columns(SCHEMA, frame).values] == BLANK_ROW


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("rooms", None, "is missing"),
        ("rooms", "", "is missing"),
        ("area", "wide", "'wide' is not a number"),
        ("colour", True, "True is not a text or a number"),
        ("garden", "perhaps", "'perhaps' is not true or false"),
        ("garden", 2, "2 is not true or false"),
        ("built", "31.05.2024", "'31.05.2024' is not a date such as 2024-05-31"),
        ("built", 45443, "45443 is not a date such as 2024-05-31"),
        ("built", True, "True is not a date"),
    ],
)
def test_a_wrong_value_is_refused_alike_in_a_record_and_in_a_table(
    field: str, value: object, said: str
):
    with pytest.raises(Invalid) as caught:
        row_of({field: value})
    assert caught.value.errors[0]["message"].startswith(said)
    frame = pd.DataFrame([{**FULL, field: value}]).astype(object)
    assert read_columns(SCHEMA, frame).errors[0].startswith(f"{field}: {said}")


def test_every_category_that_is_not_listed_has_one_code_and_keeps_its_text():
    cells = ["teal", " Teal", 5.0, "red", None]
    for cell, code in zip(cells, [-2, -2, -2, 0, -1], strict=True):
        assert row_of({"colour": cell})[3] == code
    frame = pd.DataFrame([{**FULL, "colour": cell} for cell in cells])
    columns = read_columns(SCHEMA, frame)
    assert columns.values[3].tolist() == [-2, -2, -2, 0, -1]
    assert columns.table()["colour"].to_pylist() == ["teal", " Teal", "5", "red", None]


def test_a_category_of_another_group_is_another_category():
    source = {
        "name": "x", "group": {"name": "g", "values": ["A", "B"]}, "target": {"name": "y"},
        "features": [
            {"name": "c", "type": "category", "categories": {"A": ["p"], "B": ["q"]}, "other": True}
        ],
    }  # fmt: skip
    schema = parse_schema(source)
    assert RecordEncoder(schema).encode({"g": "A", "c": "q"}).row == [-2]
    frame = pd.DataFrame({"g": ["A", "B"], "c": ["q", "q"]})
    columns = read_columns(schema, frame)
    assert columns.values[0].tolist() == [-2, 1]
    assert columns.table()["c"].to_pylist() == ["q", "q"]


@pytest.mark.parametrize(
    "cells",
    [
        pd.Series(pd.to_datetime(["2024-05-31 23:59", "1969-12-31 23:59"])),
        pd.Series(pd.to_datetime(["2024-05-31 23:59", "1969-12-31 00:01"])).dt.tz_localize(
            "Asia/Tokyo"
        ),
        pd.Series(
            [dt.datetime(2024, 5, 31, 23, tzinfo=dt.UTC), dt.date(1969, 12, 31)], dtype=object
        ),
        pd.Series(["2024-05-31", " 1969-12-31T08:00:00Z"], dtype="category"),
        pd.Series(["2024-05-31", "19691231"], dtype="str"),
    ],
)
def test_the_day_of_a_date_is_read_however_a_column_stores_it(cells: pd.Series):
    columns = read_columns(SCHEMA, pd.DataFrame({"rooms": [1, 1], "built": cells}))
    assert columns.valid.all()
    assert [column[0] for column in columns.values[5:]] == [DAYS, 5, 4, 0]
    assert [column[1] for column in columns.values[5:]] == [-10958, 12, 2, 0]


def test_a_day_beyond_the_calendar_is_wrong_and_its_neighbours_are_not():
    cells = pd.Series(np.array(["20000-01-01", "NaT", "2024-05-31"], dtype="datetime64[s]"))
    columns = read_columns(SCHEMA, pd.DataFrame({"rooms": [1, 1, 1], "built": cells}))
    assert columns.valid.tolist() == [False, True, True]
    assert [column[1] for column in columns.values[5:]] == [399, 2, 5, 1]


@pytest.mark.parametrize("dtype", ["bool", "boolean", "int64", "float64", "str", "category"])
def test_a_boolean_is_read_however_a_column_stores_it(dtype: str):
    frame = pd.DataFrame({"rooms": [1, 1], "garden": pd.Series([True, False]).astype(dtype)})
    assert read_columns(SCHEMA, frame).values[4].tolist() == [1, 0]


def test_columns_that_may_be_blank_may_be_missing_in_a_sheet_unless_all_are():
    assert match_columns(SCHEMA, ["Rooms ", "note"]) == ({"rooms": 0}, [])
    free = parse_schema({**SOURCE, "features": SOURCE["features"][:1]})
    assert match_columns(free, ["area"]) == ({"area": 0}, [])
    with pytest.raises(WorkbookError, match="lacks 1 of 1 columns: area"):
        check_columns(["note"], free)
    with pytest.raises(WorkbookError, match="lacks 1 of 1 columns: rooms"):
        check_columns(["area", "garden"], SCHEMA)


def test_json_schema_allows_null_where_a_value_may_be_missing():
    described = record_schema(SCHEMA)
    properties = described["properties"]
    assert described["required"] == ["rooms"]
    assert properties["area"]["type"] == ["number", "null"]
    assert properties["garden"]["type"] == ["boolean", "null"]
    assert properties["built"] == {"description": "", "type": ["string", "null"], "format": "date"}
    assert "enum" not in properties["colour"]
    assert ENCODER.encode(example(SCHEMA)).group == "all"


def test_the_example_has_the_usual_values_where_the_schema_says_them():
    usual = {"name": "rooms", "type": "integer", "example": 4}
    source = SOURCE | {"features": [SOURCE["features"][0], usual, SOURCE["features"][4]]}
    assert example(parse_schema(source)) == {"area": 93.5, "rooms": 4, "built": "2001-02-03"}


def test_the_answer_of_a_classification_is_a_class_and_its_probability():
    described = answer_schema(SCHEMA)
    assert described["required"] == ["prediction", "probability", "model_version"]
    assert described["properties"]["prediction"]["enum"] == ["no", "yes"]
    assert "warning" in answer_schema(parse_schema({**SOURCE, "warn": True}))["properties"]


VERSION: Any = SimpleNamespace(schema=SCHEMA, name="v1", manifest=SimpleNamespace(name="houses"))


def test_tensors_of_booleans_and_dates_become_records_and_blank_text_is_missing():
    asked = InferRequest(
        inputs=[
            Tensor("rooms", [2], "INT32", [1, 2]),
            Tensor("garden", [2, 1], "BOOL", [[True], [False]]),
            Tensor("built", [2], "BYTES", ["2024-05-31", ""]),
        ]
    )
    rows = read_rows(VERSION, asked)
    assert ENCODER.encode(rows[0]).row[4:] == FULL_ROW[4:]
    assert ENCODER.encode(rows[1]).row[4:] == [0, *BLANK_ROW[5:]]


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (Tensor("garden", [1], "INT8", [1]), "garden: datatype must be BOOL, not INT8"),
        (Tensor("built", [1], "INT8", [1]), "built: datatype must be BYTES, not INT8"),
        (Tensor("area", [1], "BOOL", [True]), "area: datatype must be a number type, not BOOL"),
    ],
)
def test_a_tensor_of_another_type_is_refused(tensor: Tensor, said: str):
    with pytest.raises(ClientError, match=said):
        read_rows(VERSION, InferRequest(inputs=[Tensor("rooms", [1], "INT8", [1]), tensor]))


def test_a_request_without_a_tensor_is_refused():
    free: Any = SimpleNamespace(schema=parse_schema({**SOURCE, "features": SOURCE["features"][:1]}))
    with pytest.raises(ClientError, match="Inputs missing: area"):
        read_rows(free, InferRequest(inputs=[]))


def test_the_metadata_name_the_types_of_tensors():
    inputs = {entry["name"]: entry["datatype"] for entry in metadata(VERSION)["inputs"]}
    assert inputs == {
        "area": "FP64", "rooms": "INT64", "colour": "BYTES", "garden": "BOOL", "built": "BYTES",
    }  # fmt: skip


def test_an_arrow_stream_may_hold_dates_times_and_booleans():
    moment = dt.datetime(2024, 5, 31, 23, 59, tzinfo=dt.UTC)
    for built in (pa.array([moment.date()]), pa.array([moment], pa.timestamp("us", "UTC"))):
        table = pa.table({"rooms": [3], "garden": [True], "built": built})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        frame = read_stream(sink.getvalue().to_pybytes(), VERSION, 10)
        columns = read_columns(SCHEMA, frame)
        assert columns.valid.all()
        assert [column[0] for column in columns.values[4:]] == FULL_ROW[4:]
