from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimq.errors import Invalid
from aimq.schema import load_schema, read_columns
from aimq.schema.model import parse_schema
from etl.clean import clean
from etl.generate import ROWS, generate, price
from etl.pipeline import SCHEMAS

CARS = load_schema(SCHEMAS / "used_cars.toml")
SMALL = parse_schema(
    {
        "name": "small",
        "group": {"name": "kind", "values": ["A", "B"]},
        "target": {"name": "price", "unit": "EUR", "minimum": 1, "maximum": 1000},
        "features": [
            {"name": "km", "type": "integer", "unit": "km", "minimum": 0, "maximum": 90_000},
            {"name": "climate", "type": "category", "categories": ["None", "Manual"]},
        ],
    }
)
COLUMNS = ["kind", "km", "climate", "price"]


def table(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def test_the_same_seed_gives_the_same_table_and_another_seed_another():
    first = generate(CARS, 2_000, 5)
    pd.testing.assert_frame_equal(first, generate(CARS, 2_000, 5))
    assert not first.equals(generate(CARS, 2_000, 6))


def test_the_default_table_is_large_and_stays_as_it_is():
    raw = generate(CARS)
    assert len(raw) == ROWS >= 60_000
    assert list(raw.columns) == [*CARS.columns, CARS.target]
    account = clean(CARS, raw).account
    assert account.kept > 57_000
    reasons = {reason.partition(":")[0] for reason in account.dropped}
    assert reasons == {"blank", "outlier", "duplicate", "not allowed by the schema"}
    assert set(account.repaired) == {
        "outer spaces",
        "category spelled otherwise",
        "number written as text",
    }


def test_the_price_follows_the_documented_formula():
    car = {
        "model": "180",
        "kilometers": 150_000,
        "fuel_type": "Electric",
        "gear_type": "Automatic",
        "vehicle_type": "SUV",
        "age_in_months": 60,
        "color": "Red",
        "line": "Sportline",
        "doors": "2 to 3",
        "seats": "6 to 8",
        "climate": "None",
    }
    factors = 1.22 * 1.09 * 1.16 * 0.99 * 1.15 * 0.94 * 0.97 * 1.04
    expected = 14_000 * np.exp(-0.011 * 60 * 1.15) * (1 - 0.35 / 2) * factors
    assert price(pd.DataFrame([car])) == pytest.approx([expected])


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.integers(1, 400))
def test_every_row_is_kept_or_dropped_for_one_reason(seed: int, rows: int):
    cleaned = clean(CARS, generate(CARS, rows, seed))
    account = cleaned.account
    assert account.rows == rows == account.kept + sum(account.dropped.values())
    assert cleaned.columns.valid.all()
    assert len(cleaned.target) == len(cleaned.columns.groups) == account.kept
    assert ((cleaned.target >= 100) & (cleaned.target <= 250_000)).all()


def test_repairs_are_counted_and_done():
    cleaned = clean(
        SMALL,
        table(
            (" a ", "1000", "MANUAL", "10"),
            ("A", "12,500 km", "none", "1 000 EUR"),
            ("B", " 7 ", "None", "1,000.00"),
        ),
    )
    assert cleaned.account.kept == 3
    assert cleaned.account.dropped == Counter()
    assert cleaned.account.repaired == Counter(
        {"outer spaces": 2, "category spelled otherwise": 2, "number written as text": 2}
    )
    assert cleaned.columns.groups.tolist() == [0, 0, 1]
    assert cleaned.columns.values[0].tolist() == [1000, 12_500, 7]
    assert cleaned.columns.values[1].tolist() == [1, 0, 0]
    assert cleaned.target.tolist() == [10, 1000, 1000]


def test_each_reason_to_drop_a_row_is_counted():
    good = [("A", str(n), "None", str(100 + n)) for n in range(10)]
    cleaned = clean(
        SMALL,
        table(
            *good,
            good[0],
            ("a", " 1 ", "NONE", "101"),
            ("A", "", "None", "100"),
            ("A", "n/a", "None", "?"),
            ("B", "many", "None", "100"),
            ("B", "99999", "None", "100"),
            ("B", "inf", "None", "100"),
            ("B", "5", "None", "0.5"),
            ("A", "5", "None", "900"),
            ("A", "5", "Auto", "100"),
            ("Z", "5", "None", "100"),
            ("A", "5.5", "None", "100"),
        ),
    )
    assert cleaned.account.dropped == Counter(
        {
            "duplicate": 2,
            "blank": 2,
            "not a number": 1,
            "outlier: outside its range": 3,
            "outlier: far-out price": 1,
            "not allowed by the schema: climate": 1,
            "not allowed by the schema: kind": 1,
            "not allowed by the schema: km": 1,
        }
    )
    assert cleaned.account.kept == len(good)


def test_columns_are_found_whatever_their_case_order_and_neighbours():
    raw = table(("A", "5", "None", "100")).set_axis(["KIND", " km ", "Climate", "PRICE"], axis=1)
    raw.insert(0, "id", "7")
    assert clean(SMALL, raw[raw.columns[::-1]]).account.kept == 1


def test_missing_columns_are_named_and_those_there_are_shown():
    with pytest.raises(
        Invalid, match=r"lacks the columns km, price; it has kind, climate"
    ) as error:
        clean(SMALL, table(("A", "5", "None", "1"))[["kind", "climate"]])
    assert [entry["field"] for entry in error.value.errors] == ["km", "price"]


def test_a_table_without_rows_is_empty_after_cleaning():
    assert clean(SMALL, table()).account.kept == 0


def test_what_is_kept_reads_as_valid_again():
    cleaned = clean(CARS, generate(CARS, 500, 1))
    again = read_columns(CARS, cleaned.columns.table().to_pandas())
    np.testing.assert_array_equal(again.matrix(), cleaned.columns.matrix())
