"""A schema edited into nonsense: the message names the place and says what to do."""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from aimq.errors import ModelRefused
from aimq.schema import RecordEncoder, load_schema
from aimq.schema.jsonschema import example
from aimq.schema.model import parse_schema

HOUSES: dict[str, Any] = {
    "name": "houses",
    "group": {"name": "region", "values": ["north", "south"]},
    "target": {"name": "price"},
    "features": [
        {"name": "area", "type": "number", "blank": True, "fill": 3.5, "minimum": 0, "maximum": 9},
        {"name": "color", "type": "category", "categories": ["red"]},
        {"name": "built", "type": "date"},
    ],
}
CLASSES = {"name": "price", "task": "classification"}
GONE = object()
NONSENSE = [
    (["name"], GONE, 'name is missing: add name = "…"'),
    (["name"], 5, "name must be a text in quotation marks, not 5"),
    (["titel"], "x", "'titel' is not known here; did you mean title?"),
    (["warn"], "yes", "warn must be true or false, not 'yes'"),
    (["group"], "region", "[group]: must be a table, not 'region'"),
    (["group", "name"], GONE, "[group]: name is missing"),
    (["group", "values"], GONE, '[group]: values is missing: add values = ["a", "b"]'),
    (["group", "values"], ["a", " A"], "[group]: values has ' A' twice"),
    (["group", "values"], ["a", True], "[group]: values has True: take it out"),
    (["group", "name"], "warning", "[group]: the name cannot be 'warning'"),
    (["target"], GONE, "[target]: name is missing"),
    (["target", "name"], " AREA", "' AREA' is the name of two columns"),
    (["target", "task"], "guess", '[target]: task must be "regression" or "classification"'),
    (["target", "task"], "classification", "[target]: classes is missing"),
    (["target", "classes"], ["a", "b"], '[target]: classes does not go with task = "regression"'),
    (["target"], {**CLASSES, "classes": ["a"]}, "a classification needs two or more"),
    (["target"], {**CLASSES, "minimum": 1}, '[target]: minimum does not go with task'),
    (["target", "prediction"], "region", "[target]: prediction cannot be 'region'"),
    (["target", "minimum"], float("inf"), "minimum must be a finite number, not inf"),
    (["target", "minimum"], "a", "[target]: minimum must be a finite number, not 'a'"),
    (["target"], {"name": "y", "minimum": 2, "maximum": 1}, "the minimum is over the maximum"),
    (["features"], GONE, "add a table [[features]]"),
    (["features"], {"name": "area"}, "[[features]], in double brackets"),
    (["features", 0], "area", "[[features]] no. 1: must be a table"),
    (["features", 0, "name"], GONE, "[[features]] no. 1: name is missing"),
    (["features", 0, "type"], GONE, "[[features]] 'area': type is missing"),
    (["features", 0, "type"], "float", "must be one of number, integer, category, boolean, date"),
    (["features", 0, "minimun"], 1, "[[features]] 'area': 'minimun' is not known here; did you"),
    (["features", 0, "fill"], GONE, "[[features]] 'area': blank = true needs fill"),
    (["features", 0, "fill"], 99, "'area': fill must lie between the minimum and the maximum"),
    (["features", 0, "fill"], float("nan"), "'area': fill must be a finite number, not nan"),
    (["features", 0, "blank"], False, "'area': fill does not go with"),
    (["features", 0, "example"], 99, "'area': example must lie between the minimum and the maxi"),
    (["features", 0, "other"], True, "'area': other does not go with type = \"number\""),
    (["features", 1, "categories"], GONE, "[[features]] 'color': categories is missing"),
    (["features", 1, "categories"], {"north": ["a"]}, "must name each group once: north, south"),
    (["features", 1, "minimum"], 1, "[[features]] 'color': minimum does not go with"),
    (["features", 2], {"name": "d", "type": "date", "blank": True, "fill": "x"}, "such as 2024-05"),
    (["features", 2], {"name": "area.blank", "type": "number"}, "'area.blank' is a column of the"),
]  # fmt: skip


def changed(path: list[Any], value: object) -> dict[str, Any]:
    source = copy.deepcopy(HOUSES)
    inner: Any = source
    for key in path[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return source


@pytest.mark.parametrize(("path", "value", "said"), NONSENSE)
def test_nonsense_in_a_schema_is_named_with_its_place(path: list[Any], value: object, said: str):
    with pytest.raises(ModelRefused) as caught:
        parse_schema(changed(path, value))
    assert said in caught.value.detail
    assert "Error" not in caught.value.detail


def test_the_message_of_a_file_begins_with_its_path(tmp_path: Path):
    file = tmp_path / "houses.toml"
    file.write_text(tomli_w.dumps(changed(["group", "name"], GONE)), encoding="utf-8")
    with pytest.raises(ModelRefused) as caught:
        load_schema(file)
    assert caught.value.detail.startswith(f"{file}: [group]: name is missing")


def test_what_is_no_table_at_all_is_refused():
    for source in (None, [], "x", 5):
        with pytest.raises(ModelRefused, match="must be a table"):
            parse_schema(source)  # type: ignore[arg-type] # as a client may send it


def test_null_counts_as_absent_as_json_has_it():
    source = changed(["features", 0, "maximum"], None)
    assert parse_schema(source).features[0].maximum > 1e38


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates()
    | st.sampled_from(["number", "category", "boolean", "date", "classification", "A", 10**400]),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some),
    max_leaves=4,
)  # fmt: skip
PLACES = [
    ["name"], ["warn"], ["group"], ["group", "name"], ["group", "values"], ["target"],
    ["target", "name"], ["target", "task"], ["target", "classes"], ["target", "minimum"],
    ["target", "prediction"], ["features"], ["features", 0], ["features", 0, "minimum"],
    ["features", 0, "fill"], ["features", 0, "type"], ["features", 0, "blank"],
    ["features", 0, "example"],
    ["features", 1, "categories"], ["features", 1, "other"], ["features", 2, "type"],
    ["features", 2, "name"], ["features", 2, "unit"],
]  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(PLACES), ANYTHING), min_size=1, max_size=3))
def test_whatever_is_written_in_a_schema_it_is_refused_in_words_or_works(
    edits: list[tuple[list[Any], object]],
):
    source: Any = copy.deepcopy(HOUSES)
    for path, value in edits:
        with suppress(TypeError, KeyError, IndexError):  # an edit before took the place away
            inner = source
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
    try:
        schema = parse_schema(source)
    except ModelRefused:
        return
    assert len(RecordEncoder(schema).encode(example(schema)).row) == len(schema.matrix_columns)
    assert parse_schema(msgspec.json.decode(msgspec.json.encode(source))) == schema
