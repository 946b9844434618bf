"""What inference makes of each kind of column and of each kind of target."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimq.errors import Invalid
from aimq.schema.model import Task, parse_schema
from etl.extract import extract
from etl.infer import infer

ROWS = 200
RANDOM = np.random.default_rng(1)
NUMBERS = RANDOM.normal(50, 10, ROWS).round(3)


def table(**columns: object) -> pd.DataFrame:
    """A table of text with a number ``y`` to predict and a number ``x``."""
    frame = pd.DataFrame({"x": NUMBERS[::-1], **columns, "y": NUMBERS})
    return frame.astype(object).where(frame.notna(), "").astype(str)


def cycle(*values: object) -> list[object]:
    return [values[row % len(values)] for row in range(ROWS)]


def feature_of(cells: object, name: str = "c"):
    """The feature that a column becomes, or why it is left out; and the notes."""
    found = infer(table(**{name: cells}), target="y", name="t")
    schema = parse_schema(found.source)
    made = {feature.name: feature for feature in schema.features}
    assert (name in made) != (name in found.left_out)
    return made.get(name) or found.left_out[name], found.notes


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (cycle("1.5", "2", "-3e2"), "number"),
        (cycle("1", "2", "3.0"), "integer"),
        (cycle("1", "0"), "integer"),
        (cycle("true", "FALSE"), "boolean"),
        (cycle("yes", "no", " Yes "), "boolean"),
        (cycle("yes", "1", "0"), "boolean"),
        (cycle("red", "green"), "category"),
        (cycle("00123", "00456"), "category"),
        (cycle("2024-05-31", "2024-06-01 00:00:00"), "date"),
        (cycle("31.5.2024", "1.12.2024"), "date"),
        (cycle("31/05/2024", "01/02/2024"), "date"),
        (cycle("05/31/2024", "01/02/2024"), "date"),
        (cycle("12,500", "900", "1,250.50"), "number"),
    ],
)
def test_a_column_is_of_the_type_that_its_cells_have(cells: list[str], kind: str):
    feature, notes = feature_of(cells)
    assert (feature.type, feature.blank, notes) == (kind, False, [])


@pytest.mark.parametrize(
    ("cells", "name", "reason"),
    [
        ([f"K{row:04}" for row in range(ROWS)], "code", "identifier"),
        (range(500, 500 + ROWS), "customer_id", "identifier"),
        (range(ROWS), "rowNumber", "identifier"),
        ([f"a long remark on case {row}" for row in range(ROWS)], "remark", "free text"),
        ([f"word{row // 2}" for row in range(ROWS)], "text", "free text: 100 different"),
        (cycle("EUR"), "currency", "constant"),
        (cycle("EUR", "eur "), "currency", "constant"),
        (cycle("7", "7.0"), "seven", "constant"),
        (cycle("1", "", "", ""), "rare", "mostly blank: 150 of 200"),
        (cycle("01/02/2024", "03/04/2024"), "day", "day and month cannot be told apart"),
        (NUMBERS, "predicted_y", "a column of the results"),
        (cycle("a", "b"), "Error", "a column of the results"),
    ],
)
def test_a_column_that_nothing_is_learnt_from_is_left_out(cells: object, name: str, reason: str):
    found, _ = feature_of(cells, name)
    assert reason in found


def test_a_column_of_fractions_is_no_identifier_though_no_two_are_alike():
    feature, _ = feature_of(np.arange(ROWS) + 0.5, "id")
    assert feature.type == "number"


def test_whole_numbers_that_all_differ_are_a_feature_unless_they_are_called_an_id():
    feature, _ = feature_of(range(1800, 1800 + ROWS), "year")
    assert feature.type == "integer"


def test_blanks_may_come_again_and_the_median_stands_for_them():
    number, _ = feature_of(cycle("1.5", "", "2.5", "n/a", "9.5"))
    whole, _ = feature_of(cycle("1", "2", "?", "4"))
    day, _ = feature_of(cycle("2024-01-01", "2024-01-03", "", "2024-01-09"))
    truth, _ = feature_of(cycle("yes", "no", ""))
    assert (number.blank, number.fill) == (True, 2.5)
    assert (whole.blank, whole.fill) == (True, 2)
    assert (day.blank, str(day.fill)) == (True, "2024-01-03")
    assert (truth.blank, truth.fill) == (True, None)


def test_the_example_is_a_usual_record():
    number, _ = feature_of(cycle("1.5", "2.5", "9.5"))
    day, _ = feature_of(cycle("2024-01-01", "2024-01-03", "2024-01-09"))
    assert (number.example, number.fill) == (2.5, None)
    assert str(day.example) == "2024-01-03"


def test_a_category_that_is_not_in_the_table_will_be_predicted_too():
    feature, _ = feature_of(cycle("b", "A"))
    assert feature.other


def test_rare_categories_are_left_to_other():
    feature, _ = feature_of([*cycle("b", "A")[:-4], "c", "c", "d", "e"])
    assert (feature.categories, feature.other, feature.blank) == (("A", "b"), True, False)


def test_the_fifty_most_frequent_categories_are_listed():
    words = [f"w{place:02}" for place in range(60) for _ in range(60 - place)]
    raw = pd.DataFrame({"c": words, "y": [str(row / 7) for row in range(len(words))]}, dtype=str)
    (feature,) = parse_schema(infer(raw, target="y", name="t").source).features
    assert feature.categories == tuple(f"w{place:02}" for place in range(50))
    assert feature.other


def test_a_category_called_none_is_a_category_where_it_is_frequent():
    often, _ = feature_of(cycle("None", "gas"))
    seldom, _ = feature_of([*cycle("gas", "oil")[:-2], "None", "None"])
    assert (often.categories, often.blank) == (("gas", "None"), False)
    assert (seldom.categories, seldom.blank) == (("gas", "oil"), True)


def test_one_category_with_blanks_is_a_feature():
    feature, _ = feature_of(cycle("x", "x", ""))
    assert (feature.categories, feature.blank) == (("x",), True)


def test_a_decimal_comma_is_read_and_noted():
    feature, notes = feature_of(cycle("1,5", "2,25", "3", "1.000,125", ""))
    assert (feature.type, feature.fill) == ("number", 2.625)
    assert "'c'" in notes[0]
    assert "decimal mark" in notes[0]


def test_a_few_cells_that_are_no_number_are_noted():
    feature, notes = feature_of([*cycle("1.5", "2.5")[:-3], "many", "few", "few"])
    assert feature.type == "number"
    assert "3 rows without a number" in notes[0]


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        (cycle("2024-05-31", "31.05.2024"), ["31.05.2024", "2024-05-31"]),
        (cycle("31/05/2024", "05/31/2024"), ["31/05/2024", "05/31/2024"]),
        (cycle("1,5", "2.5"), ["1,5", "2.5", "point"]),
        (cycle("1,500", "2,250"), ["1,500", "thousands"]),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused_with_two_cells(cells: object, shown: list[str]):
    with pytest.raises(Invalid, match="'when'") as refused:
        infer(table(when=cells), target="y", name="t")
    assert all(text in refused.value.detail for text in shown)


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (cycle("yes", "No"), ("No", "yes")),
        (cycle("b", "a", "B ", "b"), ("a", "b")),
        (cycle("10", "9", "8.0"), ("8", "9", "10")),
        (["1", *["0"] * (ROWS - 1)], None),
        ([*["1"] * 12, *["0"] * (ROWS - 12)], ("0", "1")),
        (cycle(*range(10)), tuple(map(str, range(10)))),
        (cycle(*range(11)), ()),
        (cycle("0.5", "1.5"), ()),
        (NUMBERS, ()),
    ],
)
def test_a_target_with_few_values_is_a_class(cells: object, classes: tuple[str, ...] | None):
    if classes is None:
        with pytest.raises(Invalid, match="classification is impossible"):
            infer(table(t=cells), target="t", name="t")
        return
    schema = parse_schema(infer(table(t=cells), target="T ", name="t").source)
    assert schema.classes == classes
    assert schema.task == (Task.CLASSIFICATION if classes else Task.REGRESSION)
    assert schema.prediction == "predicted_t"
    assert schema.warn


def test_the_task_may_be_chosen():
    grades = table(t=cycle(1, 2, 3))
    assert (
        "classes" not in infer(grades, target="t", name="t", task=Task.REGRESSION).source["target"]
    )
    chosen = infer(table(t=cycle(*range(11))), target="t", name="t", task=Task.CLASSIFICATION)
    assert len(chosen.source["target"]["classes"]) == 11


def test_it_is_noted_that_numbers_are_predicted_as_classes():
    (note,) = infer(table(t=cycle(1, 2, 3)), target="t", name="t").notes
    assert "'t' has 3 different numbers" in note
    assert "--task regression" in note


def test_the_rows_of_a_rare_class_are_noted():
    found = infer(table(t=[*cycle("a", "b")[:-3], "c", "c", "c"]), target="t", name="t")
    assert found.source["target"]["classes"] == ["a", "b"]
    assert "class 'c' has 3 rows" in found.notes[0]


@pytest.mark.parametrize(
    ("cells", "task", "says"),
    [
        (cycle("7"), None, "is constant"),
        (cycle("a", "", "", ""), None, "mostly blank: 150 of 200"),
        ([""] * ROWS, None, "mostly blank"),
        (range(ROWS), None, "identifier"),
        ([f"k{row}" for row in range(ROWS)], None, "one class per row"),
        ([f"k{row // 2}" for row in range(ROWS)], None, "classification is impossible"),
        (cycle("2024-05-31", "2024-06-01"), None, "is a date"),
        (cycle("1,5", "2.5"), None, "a comma and with a point"),
        (NUMBERS, Task.CLASSIFICATION, "classification is impossible.*choose regression"),
        (cycle("a", "b"), Task.REGRESSION, "regression is impossible"),
        (cycle("yes", "no"), Task.REGRESSION, "regression is impossible"),
    ],
)
def test_a_target_that_cannot_be_predicted_is_named(cells: object, task: Task | None, says: str):
    with pytest.raises(Invalid, match=f"'t'.*{says}"):
        infer(table(t=cells), target="t", name="n", task=task)


def test_a_target_that_is_not_there_is_refused_with_the_columns_that_are():
    with pytest.raises(Invalid, match="no column 'price'; it has x, y"):
        infer(table(), target="price", name="t")


def test_too_few_rows_are_refused():
    with pytest.raises(Invalid, match=r"'y' has 30 rows.*50"):
        infer(table().head(30), target="y", name="t")


def test_a_table_of_the_target_alone_is_refused():
    with pytest.raises(Invalid, match=r"No column is left to predict 'y' from\. x: constant"):
        infer(table(x=cycle("1")), target="y", name="t")


def test_the_values_of_the_group_have_a_model_each():
    found = infer(
        table(town=cycle("Oslo", "bergen", "BERGEN", "bergen")), target="y", group="Town", name="t"
    )
    schema = parse_schema(found.source)
    assert (schema.group, schema.groups) == ("town", ("bergen", "Oslo"))
    assert [feature.name for feature in schema.features] == ["x"]


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ([*["small"] * 10, *["large"] * (ROWS - 10)], "'town' needs 20 rows.*'small' has 10"),
        (cycle("one"), "'town' has 1 different"),
        (range(ROWS), "'town' has 200 different"),
    ],
)
def test_a_group_that_is_no_group_is_refused(cells: object, says: str):
    with pytest.raises(Invalid, match=says):
        infer(table(town=cells), target="y", group="town", name="t")


def test_the_target_cannot_be_the_group():
    with pytest.raises(Invalid, match="both"):
        infer(table(), target="y", group="Y", name="t")


def test_the_four_tables_have_the_features_that_a_person_would_choose(tables):
    for known in tables.values():
        found = infer(extract(known.path), target=known.target, group=known.group, name=known.name)
        schema = parse_schema(found.source)
        assert tuple(feature.name for feature in schema.features) == known.features
        assert (schema.task, schema.group) == (known.task, known.group)
        blank = {name for name in known.features if known.frame[name].isna().any()}
        assert {feature.name for feature in schema.features if feature.blank} == blank
        assert found.notes == []


def outcome_of(raw: pd.DataFrame):
    """What is inferred, or what is said of the table."""
    try:
        return infer(raw, target="y", name="t")
    except Invalid as refused:
        return refused.detail


CELLS = st.sampled_from(
    [
        "",
        "n/a",
        "None",
        "1",
        "2.5",
        "1,5",
        "12,000",
        "2024-05-31",
        "3.4.2024",
        "yes",
        "no",
        "a",
        "B b",
    ]
)


@settings(max_examples=15)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=1, max_size=4), st.randoms())
def test_every_column_is_a_feature_or_left_out_whatever_the_order_of_the_rows(columns, random):
    raw = table(**{f"c{place}": cycle(*cells) for place, cells in enumerate(columns)})
    order = random.sample(range(ROWS), ROWS)
    outcomes = [outcome_of(raw), outcome_of(raw.iloc[order])]
    assert outcomes[0] == outcomes[1]
    found = outcomes[0]
    if isinstance(found, str):
        assert "'c" in found
        return
    schema = parse_schema(found.source)
    made = [feature.name for feature in schema.features]
    assert sorted([*made, *found.left_out]) == sorted(set(raw.columns) - {"y"})
