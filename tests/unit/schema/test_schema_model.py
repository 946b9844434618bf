from __future__ import annotations

import copy
from pathlib import Path

import pytest
import tomli_w

from aimq.errors import Invalid, ModelRefused
from aimq.schema import load_schema
from aimq.schema.jsonschema import example, record_schema
from aimq.schema.model import category_number, parse_schema
from aimq.schema.records import RecordEncoder
from etl.pipeline import SCHEMAS

FIELDS = [
    "model_group",
    "model",
    "kilometers",
    "fuel_type",
    "gear_type",
    "vehicle_type",
    "age_in_months",
    "color",
    "line",
    "doors",
    "seats",
    "climate",
]

SMALL = {
    "name": "small",
    "group": {"name": "kind", "values": ["x", "y"]},
    "target": {"name": "price"},
    "features": [
        {"name": "size", "type": "number", "minimum": 0, "maximum": 10},
        {"name": "color", "type": "category", "categories": ["red", "None"]},
    ],
}


def changed(path: list[object], value: object) -> dict:
    source = copy.deepcopy(SMALL)
    inner = source
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return source


def test_the_default_schema_has_the_twelve_fields_in_order():
    schema = load_schema(SCHEMAS / "used_cars.toml")
    assert list(schema.columns) == FIELDS
    assert (schema.target, schema.prediction) == ("price_in_local_currency", "predicted_price")
    assert schema.groups == ("A", "B", "C")


def test_none_is_a_category_of_its_own():
    schema = load_schema(SCHEMAS / "used_cars.toml")
    assert "None" in next(f for f in schema.features if f.name == "climate").categories


def test_the_example_of_the_default_schema_is_valid():
    schema = load_schema(SCHEMAS / "used_cars.toml")
    assert RecordEncoder(schema).encode(example(schema)).group == "A"


def test_json_schema_names_every_field_with_its_range_or_categories():
    described = record_schema(load_schema(SCHEMAS / "used_cars.toml"))
    assert list(described["properties"]) == FIELDS == described["required"]
    assert described["properties"]["kilometers"]["maximum"] == 500_000
    assert "Diesel" in described["properties"]["fuel_type"]["enum"]


def test_a_category_named_by_a_number_is_documented_as_text_and_as_the_number():
    properties = record_schema(load_schema(SCHEMAS / "used_cars.toml"))["properties"]
    assert {"180", 180, "500", 500} <= set(properties["model"]["enum"])
    assert properties["model"]["type"] == ["string", "number"]
    assert properties["doors"]["type"] == "string"


def test_every_documented_value_of_a_category_is_accepted():
    schema = load_schema(SCHEMAS / "used_cars.toml")
    encoder, record = RecordEncoder(schema), example(schema)
    (model,) = (feature for feature in schema.features if feature.name == "model")
    for value in record_schema(schema)["properties"]["model"]["enum"]:
        (group,) = (name for name, known in model.by_group.items() if str(value) in known)
        assert encoder.encode({**record, "model_group": group, "model": value}).group == group


def test_the_call_of_the_public_contract_is_a_record_of_the_default_schema():
    record = {
        "model_group": "A", "model": 180, "kilometers": 5000, "fuel_type": "Diesel",
        "gear_type": "Manual", "vehicle_type": "Sedan Car", "age_in_months": 12, "color": "Black",
        "line": "Sportline", "doors": "4 to 5", "seats": "1 to 3", "climate": "Air Conditioning",
    }  # fmt: skip
    schema = load_schema(SCHEMAS / "used_cars.toml")
    assert RecordEncoder(schema).encode(record).group == "A"


@pytest.mark.parametrize(
    ("category", "number"),
    [("180", 180), ("1.5", 1.5), ("-7", -7), ("007", None), ("1_0", None), ("nan", None),
     ("inf", None), ("1e400", None), ("Diesel", None), ("180.0", None), ("٣", None)],
)  # fmt: skip
def test_a_number_is_named_by_its_shortest_text_alone(category: str, number: float | None):
    assert category_number(category) == number


def test_the_source_of_a_schema_builds_the_same_schema_again(tmp_path: Path):
    schema = load_schema(SCHEMAS / "used_cars.toml")
    again = tmp_path / "schema.toml"
    again.write_text(tomli_w.dumps(dict(schema.source)), encoding="utf-8")
    assert load_schema(again) == schema


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["group", "values"], []),
        (["group", "values"], ["x", " X "]),
        (["group", "values"], ["x", ""]),
        (["features"], []),
        (["features", 0, "type"], "date"),
        (["features", 0, "minimum"], 11),
        (["features", 0, "minimum"], "nan"),
        (["features", 0, "categories"], ["a"]),
        (["features", 0, "name"], " Price"),
        (["features", 1, "categories"], []),
        (["features", 1, "categories"], ["red", "RED "]),
        (["features", 1, "categories"], ["red", "  "]),
        (["features", 1, "categories"], ["red", True]),
        (["features", 1, "categories"], {"x": ["red"]}),
        (["target"], {}),
    ],
)
def test_an_inconsistent_schema_is_refused(path: list[object], value: object, tmp_path: Path):
    file = tmp_path / "schema.toml"
    file.write_text(tomli_w.dumps(changed(path, value)), encoding="utf-8")
    with pytest.raises(ModelRefused, match=r"schema\.toml"):
        load_schema(file)


@pytest.mark.parametrize("content", [b"name = ", b"\xff", None])
def test_an_unreadable_schema_is_refused(content: bytes | None, tmp_path: Path):
    file = tmp_path / "schema.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelRefused, match="cannot be read"):
        load_schema(file)


def test_categories_written_as_numbers_in_a_schema_are_accepted_as_these_numbers():
    source = changed(["features", 1, "categories"], [1.5, 2.0, 3])
    encoder = RecordEncoder(parse_schema(source))
    for code, value in enumerate([1.5, 2.0, 3]):
        for given in (value, str(value)):
            assert encoder.encode({"kind": "x", "size": 1, "color": given}).row == [1.0, code]


def test_codes_follow_the_order_of_the_categories():
    assert parse_schema(SMALL).encoder() == {
        "columns": ["size", "color"],
        "codes": {"color": {"red": 0, "None": 1}},
    }


def test_a_number_without_bounds_still_fits_the_matrix():
    schema = parse_schema(
        {
            "name": "n",
            "group": {"name": "g", "values": ["A"]},
            "target": {"name": "t"},
            "features": [{"name": "x", "type": "number"}],
        }
    )
    encoder = RecordEncoder(schema)
    for value in (float("inf"), float("-inf"), float("nan"), 1e39, -(10**400)):
        with pytest.raises(Invalid):
            encoder.encode({"g": "A", "x": value})
    assert encoder.encode({"g": "A", "x": 3.4e38}).row == [3.4e38]
