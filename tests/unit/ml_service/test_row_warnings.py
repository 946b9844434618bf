"""What is unusual in a row is named with its field and value; what is usual is not."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
import pytest

from aimq.profile import ColumnProfile, Profile
from aimq.schema import RecordEncoder
from aimq.schema.model import parse_schema
from ml_service.row_warnings import RowWarnings

SCHEMA = parse_schema(
    {
        "name": "cars",
        "warn": True,
        "target": {"name": "price"},
        "features": [
            {"name": "area", "type": "number"},
            {"name": "rooms", "type": "integer", "blank": True, "fill": 3},
            {
                "name": "fuel",
                "type": "category",
                "categories": ["Petrol", "Electric"],
                "other": True,
            },
            {"name": "manual", "type": "boolean", "blank": True},
            {"name": "sold", "type": "date"},
        ],
    }
)
ENCODER = RecordEncoder(SCHEMA)
USUAL = {"area": 100, "rooms": 3, "fuel": "Petrol", "manual": True, "sold": "2020-06-30"}
LOW = {"area": 12.0, "rooms": 1.0, "sold.days": 7305.0}  # 2020-01-01
HIGH = {"area": 310.4, "rooms": 9.0, "sold.days": 7670.0}  # 2020-12-31
CODES = {"edges": [-1.5, -0.5, 0.5], "counts": [0, 0, 50, 50], "low": 0.0, "high": 1.0}
RANGE = {"edges": [2.5], "counts": [50, 50]}
#: electric, manual; at least 2.5 rooms, electric
NEVER = [(3, 3, 4, 3), (1, 1, 3, 3)]


def profile() -> Profile:
    columns = []
    for name, coded in zip(SCHEMA.matrix_columns, SCHEMA.coded, strict=True):
        described = (
            CODES if coded else {**RANGE, "low": LOW.get(name, 0), "high": HIGH.get(name, 12)}
        )
        feature = name.split(".")[0]
        columns.append(ColumnProfile(name=name, feature=feature, coded=coded, **described))
    return Profile(rows=100, columns=columns, never_together=NEVER)


WARNINGS = RowWarnings(SCHEMA, profile())


def warned(*records: dict) -> dict[int, str]:
    matrix = np.array([ENCODER.encode(record).row for record in records], np.float32)
    return WARNINGS.find(matrix, lambda field, row: records[row].get(field))


def warning(**changes) -> str:
    return warned({**USUAL, **changes}).get(0, "")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"area": 12},
        {"area": 310.4},
        {"rooms": None},
        {"manual": None},
        {"sold": "2021-12-01"},
        {"sold": "2019-02-01"},
    ],
)
def test_a_usual_row_has_no_warning(changes):
    assert warning(**changes) == ""


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"area": 900}, "area: 900 is outside what was trained on (12 to 310.4)"),
        ({"area": 0.1}, "area: 0.1 is outside what was trained on (12 to 310.4)"),
        ({"rooms": 10}, "rooms: 10 is outside what was trained on (1 to 9)"),
        ({"fuel": "Teal"}, "fuel: 'Teal' was not in the training table"),
        ({"fuel": 7}, "fuel: 7 was not in the training table"),
        (
            {"sold": "2204-06-30"},
            "sold: 2204-06-30 is outside what was trained on (2020-01-01 to 2020-12-31)",
        ),
        (
            {"fuel": "electric", "rooms": 2},
            "fuel 'Electric' with manual true does not occur in the training table",
        ),
        (
            {"fuel": "Electric", "manual": False},
            "rooms 3 with fuel 'Electric' does not occur in the training table",
        ),
    ],
)
def test_a_warning_names_the_field_and_its_value(changes, text):
    assert warning(**changes) == text


def test_the_days_of_the_profile_are_the_dates_of_the_texts():
    assert dt.date(2000, 1, 1) + dt.timedelta(days=LOW["sold.days"]) == dt.date(2020, 1, 1)


def test_several_warnings_are_joined_and_more_than_three_are_counted():
    assert warning(area=900, fuel="Teal").count("; ") == 1
    text = warning(area=900, rooms=10, fuel="Electric", sold="1900-01-01")
    assert text.startswith("area: 900 is outside")
    assert text.endswith("; and 2 more")
    assert text.count("; ") == 3


def test_a_blank_may_be_what_never_occurs_with_another_value():
    columns = profile().columns
    columns[2] = msgspec.structs.replace(columns[2], edges=[0.5])
    pairs = [(2, 1, 3, 2)]  # no rooms given, petrol
    warnings = RowWarnings(SCHEMA, Profile(rows=100, columns=columns, never_together=pairs))
    row = np.array([ENCODER.encode({**USUAL, "rooms": None}).row], np.float32)
    [text] = warnings.find(row, lambda *_: None).values()
    assert text == "rooms blank with fuel 'Petrol' does not occur in the training table"


def test_rows_of_a_large_table_have_the_warnings_that_they_have_alone():
    chance = np.random.default_rng(4)
    records = [
        {
            "area": float(chance.uniform(0, 400)),
            "rooms": int(chance.integers(1, 12)) if chance.random() < 0.9 else None,
            "fuel": str(chance.choice(["Petrol", "Electric", "Gas"])),
            "manual": bool(chance.random() < 0.5),
            "sold": f"{chance.integers(2018, 2024)}-03-01",
        }
        for _ in range(9000)  # more than are checked together
    ]
    found = warned(*records)
    assert 0 < len(found) < len(records)
    for row in range(0, len(records), 37):
        assert found.get(row) == warned(records[row]).get(0)
    assert WARNINGS.find(np.empty((0, len(SCHEMA.matrix_columns)), np.float32), dict.get) == {}


def test_a_category_that_is_not_listed_may_have_been_rare_in_the_training_table():
    columns = profile().columns
    columns[3] = msgspec.structs.replace(columns[3], counts=[4, 0, 50, 46])
    warnings = RowWarnings(SCHEMA, Profile(rows=100, columns=columns))
    row = np.array([ENCODER.encode({**USUAL, "fuel": "Gas"}).row], np.float32)
    [text] = warnings.find(row, lambda *_: "Gas").values()
    assert text == "fuel: 'Gas' was not in the training table, or rare there"


def test_a_profile_without_pairs_is_enough():
    warnings = RowWarnings(SCHEMA, Profile(rows=100, columns=profile().columns))
    row = np.array([ENCODER.encode({**USUAL, "fuel": "Electric"}).row], np.float32)
    assert warnings.find(row, lambda *_: None) == {}
