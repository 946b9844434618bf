from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimq.errors import Invalid
from aimq.schema import Encoded, RecordEncoder, match_columns, read_columns
from aimq.schema.model import LARGEST, parse_schema

SCHEMA = parse_schema(
    {
        "name": "small",
        "group": {"name": "kind", "values": ["A", "b"]},
        "target": {"name": "price"},
        "features": [
            {
                "name": "model",
                "type": "category",
                "categories": {"A": ["Alba", "Both"], "b": ["Both", "Straße"]},
            },
            {"name": "size", "type": "number", "minimum": -1.5, "maximum": 1e6},
            {"name": "doors", "type": "integer", "minimum": 0, "maximum": 5},
            {"name": "free", "type": "number"},
            {"name": "climate", "type": "category", "categories": ["None", "Manual", "7"]},
        ],
    }
)
ENCODER = RecordEncoder(SCHEMA)


def spelled(words: list[str]) -> st.SearchStrategy[str]:
    """Words in any case, with outer space or without."""
    change = st.sampled_from([str.upper, str.lower, str.swapcase, str])
    space = st.sampled_from(["", " ", "\t "])
    return st.builds(
        lambda word, how, a, b: a + how(word) + b, st.sampled_from(words), change, space, space
    )


#: Not a number for either path: text that reads as one is a number in a spreadsheet only.
TEXT = st.text(max_size=8).filter(lambda text: pd.isna(pd.to_numeric(text, errors="coerce")))
WRONG = st.none() | st.booleans() | TEXT
NUMBERS = (
    st.integers(-3, 8)
    | st.integers()
    | st.just(10**400)
    | st.just(-(10**400))
    | st.floats()
    | st.floats(-2, 2e6)
)
RECORDS = st.fixed_dictionaries(
    {
        "kind": spelled(["A", "b"]) | WRONG,
        "model": spelled(["Alba", "Both", "Straße"]) | WRONG,
        "size": NUMBERS | WRONG,
        "doors": st.integers(0, 5) | NUMBERS | WRONG,
        "free": NUMBERS | WRONG,
        "climate": spelled(["None", "Manual"]) | WRONG,
    }
)
VALID = st.fixed_dictionaries(
    {
        "kind": spelled(["A", "b"]),
        "model": spelled(["Both"]),
        "size": st.floats(-1.5, 1e6) | st.integers(-1, 1_000_000),
        "doors": st.integers(0, 5),
        "free": st.floats(-LARGEST, LARGEST),
        "climate": spelled(["None", "Manual", "7"]),
    }
)


def frame_of(records: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: pd.Series([r[name] for r in records], dtype=object) for name in SCHEMA.columns}
    )


def encoded_or_wrong(record: dict) -> tuple[Encoded | None, list[str]]:
    try:
        return ENCODER.encode(record), []
    except Invalid as exc:
        return None, [error["field"] for error in exc.errors]


def fields_of(sentences: str | None) -> list[str]:
    if sentences is None:
        return []
    names = [part.partition(": ")[0] for part in sentences.split("; ")]
    return [name for name in names if name in SCHEMA.columns]


@given(st.lists(RECORDS | VALID, min_size=1, max_size=6))
def test_a_record_is_encoded_or_refused_alike_alone_and_in_a_table(records: list[dict]):
    columns = read_columns(SCHEMA, frame_of(records))
    for row, record in enumerate(records):
        encoded, wrong = encoded_or_wrong(record)
        assert fields_of(columns.errors[row]) == wrong
        assert columns.valid[row] == (encoded is not None)
        if encoded is not None:
            assert SCHEMA.groups[columns.groups[row]] == encoded.group
            assert [column[row] for column in columns.values] == encoded.row


@given(st.lists(VALID, min_size=1, max_size=6))
def test_a_table_read_written_and_read_again_is_the_same(records: list[dict]):
    first = read_columns(SCHEMA, frame_of(records))
    assert first.valid.all()
    second = read_columns(SCHEMA, first.table().to_pandas())
    assert second.valid.all()
    np.testing.assert_array_equal(second.groups, first.groups)
    for again, column in zip(second.values, first.values, strict=True):
        np.testing.assert_array_equal(again, column)


@given(st.lists(VALID, min_size=1, max_size=6))
def test_numbers_written_as_text_are_the_same_numbers_in_a_table(records: list[dict]):
    written = [{**r, "doors": f" {r['doors']} ", "size": repr(r["size"])} for r in records]
    plain, text = read_columns(SCHEMA, frame_of(records)), read_columns(SCHEMA, frame_of(written))
    assert text.valid.all()
    np.testing.assert_array_equal(text.values[2], plain.values[2])
    np.testing.assert_allclose(text.values[1], plain.values[1], rtol=1e-15)


def test_every_wrong_field_of_a_row_is_named_with_what_is_allowed():
    record = {"kind": "A", "model": "Straße", "size": -9, "doors": None, "free": 1, "climate": "x"}
    (error,) = read_columns(SCHEMA, frame_of([record])).errors
    assert error == (
        "model: 'Straße' is not one of Alba, Both; "
        "size: -9 is not a number from -1.5 to 1,000,000; "
        "doors: is missing; climate: 'x' is not one of None, Manual, 7"
    )
    with pytest.raises(Invalid) as caught:
        ENCODER.encode(record)
    assert [e["field"] for e in caught.value.errors] == ["model", "size", "doors", "climate"]


def test_a_wrong_row_leaves_its_neighbours_alone():
    good = {"kind": "a", "model": "Alba", "size": 1, "doors": 2, "free": 0, "climate": "none"}
    columns = read_columns(SCHEMA, frame_of([good, {**good, "doors": "x"}, good]))
    assert columns.valid.tolist() == [True, False, True]
    expected = [[0, 1, 2, 0, 0]] * 2
    assert columns.matrix(columns.valid).tolist() == expected


@pytest.mark.parametrize("value", [True, pd.Timestamp("2020-01-01"), "1_0", "0x1", "", " "])
def test_what_is_no_number_is_wrong_in_a_number_column(value: object):
    good = {"kind": "a", "model": "Alba", "size": 1, "doors": 2, "free": 0, "climate": "none"}
    columns = read_columns(SCHEMA, frame_of([good, {**good, "free": value}]))
    assert columns.valid.tolist() == [True, False]


@pytest.mark.parametrize("dtype", ["bool", "datetime64[ns]"])
def test_columns_of_booleans_or_dates_are_no_numbers(dtype: str):
    good = {"kind": "a", "model": "Alba", "size": 1, "doors": 2, "free": 0, "climate": "none"}
    frame = frame_of([good]).assign(free=pd.Series([1]).astype(dtype))
    assert not read_columns(SCHEMA, frame).valid.any()


@pytest.mark.parametrize("dtype", ["int64", "float32", "Int64", "str", "category"])
def test_the_storage_of_a_column_does_not_matter(dtype: str):
    good = {"kind": "a", "model": "Alba", "size": 1, "doors": 2, "free": 0, "climate": "none"}
    frame = frame_of([good]).assign(doors=pd.Series([2]).astype(dtype))
    assert read_columns(SCHEMA, frame).values[2].tolist() == [2.0]


def test_a_record_that_is_no_object_is_refused():
    for record in (None, [1], "x", 5):
        with pytest.raises(Invalid, match="JSON object"):
            ENCODER.encode(record)


def test_an_int_of_many_digits_is_told_by_its_length():
    good = {"kind": "a", "model": "Alba", "size": 10**9999, "doors": 2, "free": 0, "climate": "7"}
    with pytest.raises(Invalid) as caught:
        ENCODER.encode(good)
    assert "digits" in caught.value.errors[0]["message"]
    assert "digits" in read_columns(SCHEMA, frame_of([good])).errors[0]
    assert "digits" in read_columns(SCHEMA, frame_of([{**good, "climate": 10**9999}])).errors[0]


def test_columns_are_found_without_regard_to_case_and_outer_space():
    names = ["extra", " KIND", "Model", "model", "size ", "doors", "free", None, 5]
    found, missing = match_columns(SCHEMA, names)
    assert found == {"kind": 1, "model": 2, "size": 4, "doors": 5, "free": 6}
    assert missing == ["climate"]
