from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimq.errors import Invalid
from aimq.schema import Encoded, RecordEncoder, match_columns, read_columns
from aimq.schema.model import LARGEST, parse_schema

#: Categories whose names are numbers, in a group of their own each.
NUMBERED = ["0", "1", "180", "1.5", "-7", "1e5", "007", "nan", "inf", "True"]
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
            {"name": "motor", "type": "category", "categories": {"A": NUMBERED, "b": ["1", "1.5"]}},
            {"name": "size", "type": "number", "minimum": -1.5, "maximum": 1e6},
            {"name": "doors", "type": "integer", "minimum": 0, "maximum": 5},
            {"name": "free", "type": "number"},
            {"name": "climate", "type": "category", "categories": ["None", "Manual", "7"]},
        ],
    }
)
ENCODER = RecordEncoder(SCHEMA)
GOOD = {
    "kind": "a", "model": "Alba", "motor": 180, "size": 1, "doors": 2, "free": 0, "climate": "none",
}  # fmt: skip


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
#: A number as its own name, as a fraction, or near it; in text with outer space as well.
MOTORS = st.sampled_from(
    [0, 1, 180, 1.5, -7, 180.0, -0.0, 1.0, 100_000, 7, "0", " 180 ", "180.0", "1.5", "TRUE", "007"]
)
NO_MOTORS = st.sampled_from([180.5, 10**400, float("nan"), float("inf"), True, False, "1.50"])
RECORDS = st.fixed_dictionaries(
    {
        "kind": spelled(["A", "b"]) | WRONG,
        "model": spelled(["Alba", "Both", "Straße"]) | NUMBERS | WRONG,
        "motor": MOTORS | NO_MOTORS | NUMBERS | WRONG,
        "size": NUMBERS | WRONG,
        "doors": st.integers(0, 5) | NUMBERS | WRONG,
        "free": NUMBERS | WRONG,
        "climate": spelled(["None", "Manual"]) | st.just(7) | NUMBERS | WRONG,
    }
)
VALID = st.fixed_dictionaries(
    {
        "kind": spelled(["A", "b"]),
        "model": spelled(["Both"]),
        "motor": st.sampled_from([1, 1.0, "1", "1.0", 1.5, "1.5", " 1 "]),
        "size": st.floats(-1.5, 1e6) | st.integers(-1, 1_000_000),
        "doors": st.integers(0, 5),
        "free": st.floats(-LARGEST, LARGEST),
        "climate": spelled(["None", "Manual", "7"]) | st.sampled_from([7, 7.0]),
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


@settings(deadline=None)
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


@settings(deadline=None)
@given(st.lists(VALID, min_size=1, max_size=6))
def test_a_table_read_written_and_read_again_is_the_same(records: list[dict]):
    first = read_columns(SCHEMA, frame_of(records))
    assert first.valid.all()
    second = read_columns(SCHEMA, first.table().to_pandas())
    assert second.valid.all()
    np.testing.assert_array_equal(second.groups, first.groups)
    for again, column in zip(second.values, first.values, strict=True):
        np.testing.assert_array_equal(again, column)


@settings(deadline=None)
@given(st.lists(VALID, min_size=1, max_size=6))
def test_numbers_written_as_text_are_the_same_numbers_in_a_table(records: list[dict]):
    written = [{**r, "doors": f" {r['doors']} ", "size": repr(r["size"])} for r in records]
    plain, text = read_columns(SCHEMA, frame_of(records)), read_columns(SCHEMA, frame_of(written))
    assert text.valid.all()
    np.testing.assert_array_equal(text.values[3], plain.values[3])
    np.testing.assert_allclose(text.values[2], plain.values[2], rtol=1e-15)


def test_every_wrong_field_of_a_row_is_named_with_what_is_allowed():
    record = {**GOOD, "model": "Straße", "size": -9, "doors": None, "climate": "x"}
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
    columns = read_columns(SCHEMA, frame_of([GOOD, {**GOOD, "doors": "x"}, GOOD]))
    assert columns.valid.tolist() == [True, False, True]
    expected = [[0, 2, 1, 2, 0, 0]] * 2
    assert columns.matrix(columns.valid).tolist() == expected


@pytest.mark.parametrize("value", [True, pd.Timestamp("2020-01-01"), "1_0", "0x1", "", " "])
def test_what_is_no_number_is_wrong_in_a_number_column(value: object):
    columns = read_columns(SCHEMA, frame_of([GOOD, {**GOOD, "free": value}]))
    assert columns.valid.tolist() == [True, False]


@pytest.mark.parametrize("dtype", ["bool", "datetime64[ns]"])
def test_columns_of_booleans_or_dates_are_no_numbers(dtype: str):
    frame = frame_of([GOOD]).assign(free=pd.Series([1]).astype(dtype))
    assert not read_columns(SCHEMA, frame).valid.any()


@pytest.mark.parametrize("dtype", ["int64", "float32", "Int64", "str", "category"])
def test_the_storage_of_a_column_does_not_matter(dtype: str):
    frame = frame_of([GOOD]).assign(doors=pd.Series([2]).astype(dtype))
    assert read_columns(SCHEMA, frame).values[3].tolist() == [2.0]


def test_a_record_that_is_no_object_is_refused():
    for record in (None, [1], "x", 5):
        with pytest.raises(Invalid, match="JSON object"):
            ENCODER.encode(record)


def test_an_int_of_many_digits_is_told_by_its_length():
    wide = {**GOOD, "size": 10**9999}
    with pytest.raises(Invalid) as caught:
        ENCODER.encode(wide)
    assert "digits" in caught.value.errors[0]["message"]
    assert "digits" in read_columns(SCHEMA, frame_of([wide])).errors[0]
    assert "digits" in read_columns(SCHEMA, frame_of([{**GOOD, "climate": 10**9999}])).errors[0]


@pytest.mark.parametrize("value", [180, 180.0, "180", " 180 ", "180.0", np.int64(180)])
def test_a_number_stands_for_the_category_of_its_name(value: object):
    record = {**GOOD, "motor": value}
    assert ENCODER.encode(record).row[1] == 2
    assert read_columns(SCHEMA, frame_of([record])).values[1].tolist() == [2]


@pytest.mark.parametrize("dtype", ["int64", "float32", "Int64", "Float64", "str", "category"])
def test_categories_named_by_numbers_are_found_however_a_column_stores_them(dtype: str):
    frame = frame_of([GOOD, GOOD]).assign(motor=pd.Series([180, 0]).astype(dtype))
    assert read_columns(SCHEMA, frame).values[1].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (180.5, "motor: 180.5 is not one of 0, 1, 180"),
        (True, "motor: True is not one of 0, 1, 180"),
        (float("nan"), "motor: nan is not one of 0, 1, 180"),
        (float("inf"), "motor: inf is not one of 0, 1, 180"),
        (7, "motor: 7 is not one of 0, 1, 180"),
    ],
)
def test_what_is_no_name_of_a_category_is_refused_and_quoted(value: object, said: str):
    with pytest.raises(Invalid) as caught:
        ENCODER.encode({**GOOD, "motor": value})
    error = caught.value.errors[0]
    assert f"{error['field']}: {error['message']}".startswith(said)
    told = read_columns(SCHEMA, frame_of([GOOD, {**GOOD, "motor": value}])).errors.tolist()
    assert told[0] is None
    assert told[1].startswith("motor: is missing" if pd.isna(value) else said)


def test_true_beside_one_is_no_number():
    columns = read_columns(SCHEMA, frame_of([{**GOOD, "motor": v} for v in (1, True, 1.0, False)]))
    assert columns.valid.tolist() == [True, False, True, False]


def test_columns_are_found_without_regard_to_case_and_outer_space():
    names = ["extra", " KIND", "Model", "model", "size ", "doors", "free", None, 5, "motor"]
    found, missing = match_columns(SCHEMA, names)
    assert found == {"kind": 1, "model": 2, "motor": 9, "size": 4, "doors": 5, "free": 6}
    assert missing == ["climate"]
