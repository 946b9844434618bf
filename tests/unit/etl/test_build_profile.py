"""The figures of training rows that the service compares its rows with."""

from bisect import bisect_right

import numpy as np
import pandas as pd
import pytest

from aimq.profile import encode_profile, read_profile
from aimq.schema import read_columns
from aimq.schema.model import parse_schema
from etl import profile

SCHEMA = parse_schema(
    {
        "name": "houses",
        "target": {"name": "price", "prediction": "predicted_price"},
        "features": [
            {"name": "area", "type": "number"},
            {"name": "rooms", "type": "integer", "blank": True, "fill": 3},
            {"name": "heating", "type": "category", "categories": ["gas", "oil"], "other": True},
            {"name": "storage", "type": "category", "categories": ["tank", "none"], "blank": True},
            {"name": "sold", "type": "date"},
            {"name": "lift", "type": "boolean"},
        ],
    }
)
ROWS = 400


def table() -> pd.DataFrame:
    """Houses of which none with gas has a tank; every tenth does not say its rooms."""
    random = np.random.default_rng(1)
    heating = random.choice(["gas", "oil", "wood"], ROWS)
    return pd.DataFrame(
        {
            "area": random.uniform(20, 200, ROWS),
            "rooms": np.where(np.arange(ROWS) % 10 == 0, np.nan, random.integers(1, 7, ROWS)),
            "heating": heating,
            "storage": np.where(heating == "gas", "none", random.choice(["tank", "none"], ROWS)),
            "sold": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(random.integers(0, 700, ROWS), unit="D"),
            "lift": random.choice([True, False], ROWS),
        }
    )


@pytest.fixture(scope="module")
def columns():
    read = read_columns(SCHEMA, table())
    assert read.valid.all()
    return read


@pytest.fixture(scope="module")
def built(columns):
    return profile.build(
        SCHEMA, columns, np.arange(ROWS) < 300, {"all": list(map(float, range(99)))}
    )


def named(built, name):
    return next(column for column in built.columns if column.name == name)


def test_each_matrix_column_is_described_in_order(built):
    assert tuple(column.name for column in built.columns) == SCHEMA.matrix_columns
    assert tuple(column.coded for column in built.columns) == SCHEMA.coded
    assert named(built, "sold.month").feature == "sold"
    assert built.rows == 300


def test_counts_are_those_of_the_training_rows_by_bisection(columns, built):
    matrix = columns.matrix()[:300]
    for place, column in enumerate(built.columns):
        counts = [0] * (len(column.edges) + 1)
        for value in matrix[:, place].tolist():
            counts[bisect_right(column.edges, value)] += 1
        assert column.counts == counts, column.name
        assert (column.low, column.high) == (matrix[:, place].min(), matrix[:, place].max())


def test_a_number_has_ten_bins_of_about_equal_size(built):
    counts = named(built, "area").counts
    assert len(counts) == 10
    assert min(counts) >= 29


def test_a_number_of_few_values_has_a_bin_for_each(built):
    assert named(built, "rooms").edges == [1.5, 2.5, 3.5, 4.5, 5.5]
    assert named(built, "sold.weekday").edges == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]


def test_blanks_are_counted_also_where_there_are_none(columns, built):
    assert named(built, "rooms.blank").counts == [270, 30]
    none = profile.build(SCHEMA, columns, columns.values[2] == 0, {})
    assert named(none, "rooms.blank").edges == [0.5]


def test_the_bin_of_a_code_is_the_code_plus_two(built):
    assert named(built, "heating").edges == [-1.5, -0.5, 0.5]
    other, blank, gas, oil = named(built, "heating").counts
    assert blank == 0
    assert min(other, gas, oil) > 50
    assert named(built, "lift").edges == [-1.5, -0.5, 0.5]


def test_what_is_common_apart_and_never_together_is_listed(built):
    places = {name: place for place, name in enumerate(SCHEMA.matrix_columns)}
    gas_with_a_tank = (places["heating"], 2, places["storage"], 2)
    assert gas_with_a_tank in built.never_together
    features = [column.feature for column in built.columns]
    assert all(features[a] != features[b] for a, _, b, _ in built.never_together)


def test_what_is_rare_by_chance_is_not_listed(columns):
    """Of 30 rows a pair of bins would have fewer than 20 if the columns were independent."""
    assert profile.build(SCHEMA, columns, np.arange(ROWS) < 30, {}).never_together == []


def test_the_profile_is_one_that_the_service_reads(tmp_path, built):
    path = tmp_path / "profile.json"
    path.write_bytes(encode_profile(built))
    assert read_profile(path) == built


def test_a_group_without_intervals_is_left_out(columns):
    every = np.ones(ROWS, dtype=bool)
    assert profile.build(SCHEMA, columns, every, {"all": []}).intervals == {}


def test_a_constant_column_has_one_bin():
    frame = table().assign(area=50.0)
    built = profile.build(SCHEMA, read_columns(SCHEMA, frame), np.ones(ROWS, dtype=bool), {})
    assert named(built, "area").counts == [ROWS]
