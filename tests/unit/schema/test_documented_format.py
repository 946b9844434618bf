"""The format of ``schema.toml`` as docs/models.md has it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from aimq.errors import Invalid, ModelRefused, WorkbookError
from aimq.schema import FeatureType, RecordEncoder
from aimq.schema.jsonschema import example
from aimq.schema.model import parse_schema
from aimq.schema.parsing import FEATURE_KEYS, ROOT_KEYS, TARGET_KEYS
from aimq.workbook.columns import check_columns
from etl.infer import infer

PAGE = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
(DOCUMENTED,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_documented_schema_is_one_and_has_every_type_and_every_key():
    source = tomllib.loads(DOCUMENTED)
    schema = parse_schema(source)
    assert RecordEncoder(schema).encode(example(schema)).group == "north"
    assert {feature.type for feature in schema.features} == set(FeatureType)
    assert set(source) == set(ROOT_KEYS)
    assert {*source["target"], "classes"} == set(TARGET_KEYS)
    assert {key for table in source["features"] for key in table} == set(FEATURE_KEYS)


def test_the_refusals_that_are_quoted_are_those_of_the_code():
    misspelt = tomllib.loads(DOCUMENTED.replace("minimum = 8", "minimun = 8"))
    with pytest.raises(ModelRefused) as refused:
        parse_schema(misspelt)
    assert f"houses.schema.toml: {refused.value.detail} |" in PAGE
    schema = parse_schema(
        tomllib.loads(
            DOCUMENTED.replace("blank = true", "blank = false").replace("fill = ", "# fill = ")
        )
    )
    with pytest.raises(WorkbookError) as lacking:
        check_columns([name for name in schema.columns if name != "rooms"], schema)
    assert lacking.value.detail.partition(". ")[0] in PAGE


ROWS = 60
HOUSES = pd.DataFrame(
    {
        "id": [str(number) for number in range(ROWS)],
        "price": [str(100 + number * 37 % 101) for number in range(ROWS)],
        "region": ["west"] * 10 + ["north"] * (ROWS - 10),
        "mostly": ["5"] + [""] * (ROWS - 1),
        "same": ["1"] * ROWS,
        "sold": ["03/04/2024"] * (ROWS - 1) + ["04/03/2024"],
    }
)


@pytest.mark.parametrize(
    ("target", "group"),
    [("prize", None), ("mostly", None), ("id", None), ("same", None), ("price", "region")],
)
def test_the_refusals_of_a_table_that_are_quoted_are_those_of_the_inference(
    target: str, group: str | None
):
    with pytest.raises(Invalid) as refused:
        infer(HOUSES, target=target, group=group, name="houses")
    said = refused.value.detail.replace("'mostly'", "'price'").replace("'same'", "'price'")
    quoted = [row.split(" | ")[0].strip("| ") for row in PAGE.splitlines() if row.startswith("| ")]
    assert any(said.startswith(text.removesuffix("…").strip(": ")) for text in quoted if text)


def test_the_reason_that_is_quoted_for_a_column_is_that_of_the_inference():
    found = infer(HOUSES, target="price", name="houses")
    assert f"{found.left_out['sold']} |" in PAGE
