"""Cleaning by the types, blanks and classes that a schema may have."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimq.errors import Invalid
from aimq.schema.model import parse_schema
from etl.clean import Cleaned, clean
from etl.infer import infer


def schema_of(*features: dict[str, Any], **target: Any):
    return parse_schema(
        {
            "name": "t",
            "target": {"name": "y", "prediction": "p", **target},
            "features": [
                {"name": f"f{place}", **feature} for place, feature in enumerate(features)
            ],
        }
    )


def cleaned(schema, *rows: tuple[str, ...]) -> Cleaned:
    names = [*schema.columns, "y"][-len(rows[0]) :]
    return clean(schema, pd.DataFrame(rows, columns=names, dtype=str))


def matrix_of(done: Cleaned) -> list[list[float]]:
    return done.columns.matrix().tolist()


def test_blanks_are_kept_where_they_may_be_and_drop_the_row_where_not():
    number = {"type": "number", "blank": True, "fill": 2.5}
    schema = schema_of(number, {"type": "integer"})
    done = cleaned(schema, ("1.5", "1", "10"), ("n/a", "2", "20"), ("3", "", "30"), ("", "4", ""))
    assert matrix_of(done) == [[1.5, 0, 1], [2.5, 1, 2]]
    assert done.account.dropped == Counter({"blank": 2})


def test_a_column_that_may_be_blank_need_not_be_there():
    schema = schema_of(
        {"type": "category", "categories": ["a"], "blank": True}, {"type": "integer"}
    )
    raw = pd.DataFrame({"f1": ["1", "2"], "y": ["5", "6"]}, dtype=str)
    assert matrix_of(clean(schema, raw)) == [[-1, 1], [-1, 2]]


def test_booleans_are_read_in_each_spelling():
    schema = schema_of({"type": "boolean", "blank": True})
    rows = [(word, str(place)) for place, word in enumerate(["yes", "FALSE", " 1 ", "no", ""])]
    assert matrix_of(cleaned(schema, *rows)) == [[1], [0], [1], [0], [-1]]


def test_dates_become_days_month_and_weekday():
    schema = schema_of({"type": "date"})
    done = cleaned(schema, ("31.5.2024", "1"), ("1.1.2000", "2"), ("soon", "3"), ("30.2.2024", "4"))
    assert matrix_of(done) == [[8917, 5, 4], [0, 1, 5]]
    assert done.account.dropped == Counter({"not a date": 2})


def test_dates_that_cannot_be_told_are_refused_by_the_columns_name():
    with pytest.raises(Invalid, match=r"'f0'.*'01/02/2024'.*write all as 2024-05-31"):
        cleaned(schema_of({"type": "date"}), ("01/02/2024", "1"), ("03/04/2024", "2"))


def test_other_categories_are_kept_with_a_code_of_their_own():
    schema = schema_of({"type": "category", "categories": ["red"], "other": True, "blank": True})
    done = cleaned(schema, ("RED", "1"), ("teal", "2"), ("", "3"), ("unknown", "4"))
    assert matrix_of(done) == [[0], [-2], [-1], [-2]]


def test_a_class_is_its_code_and_a_row_of_no_class_is_dropped():
    schema = schema_of({"type": "integer"}, task="classification", classes=["no", "yes"])
    done = cleaned(schema, ("1", "YES"), ("2", "no"), ("3", "maybe"), ("4", ""))
    assert done.target.tolist() == [1, 0]
    assert done.account.dropped == Counter({"not allowed by the schema: y": 1, "blank": 1})


def test_a_decimal_comma_is_read():
    done = cleaned(schema_of({"type": "number"}), ("1,5", "1.000,5"), ("2", "3"))
    assert matrix_of(done) == [[1.5], [2]]
    assert done.target.tolist() == [1000.5, 3]
    assert done.account.repaired["number written as text"] == 1


def test_rows_that_differ_in_a_column_that_nobody_learns_from_are_no_duplicates():
    schema = schema_of({"type": "integer"})
    rows = {"f0": ["1"] * 2 + list("23456789"), "y": ["7"] * 10}
    same = pd.DataFrame(rows, dtype=str)
    assert clean(schema, same).account.dropped == Counter({"duplicate": 1})
    assert clean(schema, same.assign(id=range(10)).astype(str)).account.kept == 10


def test_where_many_rows_are_alike_they_are_no_duplicates():
    done = cleaned(schema_of({"type": "integer"}), *[(str(row % 3), "7") for row in range(60)])
    assert done.account.kept == 60


def test_a_long_tail_of_targets_is_kept():
    tail = np.exp(np.random.default_rng(4).normal(0, 1.5, 500))
    done = cleaned(schema_of({"type": "integer"}), *[(str(n), str(y)) for n, y in enumerate(tail)])
    assert done.account.kept == 500


CELLS = st.sampled_from(
    ["", "n/a", "None", "unknown", "1", "2.5", "12,000", "1,5", "inf", "1e39", "2024-05-31",
     "3.4.2024", "yes", "No", "a", "A ", "B b", "Ünï", "007", "\u00a05", "nan", "x" * 300]
)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=1, max_size=5), min_size=1, max_size=3),
    st.lists(CELLS, min_size=1, max_size=3),
)
def test_what_is_inferred_can_be_cleaned_and_leaves_no_hole_in_the_matrix(columns, targets):
    rows = 120
    table = {
        f"c{place}": [cells[row % len(cells)] for row in range(rows)]
        for place, cells in enumerate(columns)
    }
    target = [targets[row // 3 % len(targets)] for row in range(rows)]
    raw = pd.DataFrame(
        {**table, "x": [str(row / 3) for row in range(rows)], "y": target}, dtype=str
    )
    try:
        schema = parse_schema(infer(raw, target="y", name="t").source)
    except Invalid:
        return
    done = clean(schema, raw)
    assert rows == done.account.kept + sum(done.account.dropped.values())
    assert np.isfinite(done.columns.matrix()).all()
    assert np.isfinite(done.target).all()
    assert not any(reason.startswith("not allowed") for reason in done.account.dropped) or (
        schema.classes
    )
