"""Training and serving encode alike, whatever a schema consists of."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from aimq.errors import Invalid
from aimq.schema import Encoded, RecordEncoder, Schema, read_columns
from aimq.schema.jsonschema import example, record_schema
from aimq.schema.model import parse_schema

BLANKS = st.sampled_from([None, "", "  "])
WORDS = ["red", "Green", "7", "1.5", "yes", "2024-05-31"]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.floats(-50, 50) | st.integers(-50, 50),
    "integer": st.integers(-50, 50) | st.just(3.0),
    "category": st.sampled_from([*WORDS, " RED ", 7, 7.0, 1.5]),
    "boolean": st.booleans() | st.sampled_from(["true", " YES", "False", "no", 0, 1, 1.0, "1"]),
    "date": st.dates().map(str)
    | st.datetimes().map(dt.datetime.isoformat)
    | st.just(" 2024-05-31T23:59:59+05:00 "),
}
ANY = st.one_of(*VALUES.values()) | st.sampled_from(["teal", True, -999, 10**400, "x" * 80])
KINDS = list(VALUES)


@st.composite
def features(draw: st.DrawFn, name: str) -> dict[str, Any]:
    kind = draw(st.sampled_from(KINDS))
    feature: dict[str, Any] = {"name": name, "type": kind, "blank": draw(st.booleans())}
    if kind == "category":
        feature |= {"categories": draw(st.permutations(WORDS)), "other": draw(st.booleans())}
    elif feature["blank"] and kind == "date":
        feature["fill"] = draw(st.dates())
    elif feature["blank"] and kind != "boolean":
        feature["fill"] = draw(st.integers(-50, 50))
    return feature


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    names = [f"f{number}" for number in range(draw(st.integers(1, 5)))]
    source: dict[str, Any] = {"name": "any", "target": {"name": "y"}}
    if draw(st.booleans()):
        source["group"] = {"name": "region", "values": ["A", "b"]}
    return parse_schema({**source, "features": [draw(features(name)) for name in names]})


@st.composite
def cases(draw: st.DrawFn, *, wrong: bool) -> tuple[Schema, list[dict[str, Any]]]:
    schema = draw(schemas())
    fields: dict[str, st.SearchStrategy[Any]] = {}
    if schema.group:
        fields[schema.group] = st.sampled_from(["A", " b", "B"]) | (ANY if wrong else st.nothing())
    for feature in schema.features:
        value = VALUES[feature.type] | (st.just("teal") if feature.other else st.nothing())
        value |= BLANKS if feature.blank else st.nothing()
        fields[feature.name] = value | ANY | BLANKS if wrong else value
    return schema, draw(st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=5))


def frame_of(schema: Schema, records: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: pd.Series([r[name] for r in records], dtype=object) for name in schema.columns}
    )


def as_in_a_sheet(value: Any) -> object:
    """Text that reads as a number is one in a sheet, but not in a record."""
    read = pd.to_numeric(value, errors="coerce") if isinstance(value, str) else np.nan
    return value if np.isnan(read) else float(read)


def encoded_or_wrong(encoder: RecordEncoder, record: object) -> tuple[Encoded | None, list[str]]:
    try:
        return encoder.encode(record), []
    except Invalid as exc:
        return None, [error["field"] for error in exc.errors]


def fields_of(sentences: str | None) -> list[str]:
    return [part.partition(": ")[0] for part in sentences.split("; ")] if sentences else []


@settings(max_examples=60)
@given(cases(wrong=True))
def test_a_record_and_its_row_in_a_table_become_the_same_row_of_the_matrix(
    case: tuple[Schema, list[dict[str, Any]]],
):
    schema, records = case
    encoder, columns = RecordEncoder(schema), read_columns(schema, frame_of(schema, records))
    assert len(columns.values) == len(schema.matrix_columns) == len(schema.coded)
    numeric = {feature.name for feature in schema.features if feature.numeric}
    for row, record in enumerate(records):
        sent = {k: as_in_a_sheet(v) if k in numeric else v for k, v in record.items()}
        encoded, wrong = encoded_or_wrong(encoder, sent)
        assert fields_of(columns.errors[row]) == wrong
        if encoded is None:
            continue
        assert schema.groups[columns.groups[row]] == encoded.group
        assert [column[row] for column in columns.values] == encoded.row


@settings(max_examples=60)
@given(cases(wrong=False))
def test_valid_rows_are_finite_and_survive_being_written_as_arrow(
    case: tuple[Schema, list[dict[str, Any]]],
):
    schema, records = case
    first = read_columns(schema, frame_of(schema, records))
    assert first.valid.all()
    assert np.isfinite(first.matrix()).all()
    for frame in (first.table().to_pandas(), first.table().to_pandas(date_as_object=False)):
        second = read_columns(schema, frame)
        assert second.errors.tolist() == [None] * len(records)
        np.testing.assert_array_equal(second.matrix(), first.matrix())
        np.testing.assert_array_equal(second.groups, first.groups)
        assert second.table().equals(first.table())


@settings(max_examples=60)
@given(schemas())
def test_the_example_of_any_schema_is_valid(schema: Schema):
    RecordEncoder(schema).encode(example(schema))
    assert record_schema(schema)["required"] == list(schema.required)
