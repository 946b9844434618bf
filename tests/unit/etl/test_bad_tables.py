"""Tables and schemas to learn nothing from: one line that says what to do, exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from aimq.cli.main import app

ROWS = 120
GOOD = pd.DataFrame(
    {
        "area": np.random.default_rng(2).uniform(20, 200, ROWS).round(1),
        "sold": ["2024-05-31", "2024-06-30"] * (ROWS // 2),
        "town": ["Oslo", "Bergen"] * (ROWS // 2),
        "price": np.random.default_rng(3).uniform(1e5, 9e5, ROWS).round(2),
    }
).astype(str)


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs ``aimq train`` on what is in the folder; holds that nothing is published."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIMQ_MODELS_DIR", str(tmp_path / "models"))

    def run(*arguments: str) -> Result:
        done = CliRunner().invoke(app, ["train", *arguments])
        assert not (tmp_path / "models").exists()
        return done

    return run


def refused(done: Result, *words: str) -> None:
    """The command ended with exit code 2, and its last line has each of these words."""
    assert done.exit_code == 2, done.output
    line = done.output.splitlines()[-1]
    assert line.startswith("aimq: ")
    for word in words:
        assert word in line


def written(**columns: object) -> str:
    """Write the good table with other columns; returns the file's name."""
    GOOD.assign(**columns).to_csv("houses.csv", index=False)
    return "houses.csv"


def test_no_target_is_chosen(train):
    refused(train(written()), "--target", "area, sold, town, price")


def test_the_target_is_not_there(train):
    refused(train(written(), "--target", "prize"), "'prize'", "area, sold, town, price")


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["7"] * ROWS, "is constant"),
        (["7", *[""] * (ROWS - 1)], "is mostly blank"),
        (range(1, ROWS + 1), "identifier"),
        ([f"house {row}" for row in range(ROWS)], "one class per row"),
        (["1,5", "2.5"] * (ROWS // 2), "a comma and with a point"),
    ],
)
def test_the_target_cannot_be_predicted(train, cells, says):
    refused(train(written(price=cells), "--target", "price"), "'price'", says)


def test_the_task_is_impossible(train):
    asked = ["--target", "town", "--task", "regression"]
    refused(train(written(), *asked), "'town'", "regression is impossible")


def test_there_are_fewer_rows_than_needed(train):
    GOOD.head(20).to_csv("houses.csv", index=False)
    refused(train("houses.csv", "--target", "price"), "'price'", "20 rows", "50")


def test_fewer_clean_rows_are_left_than_needed(train):
    sold = ["2024-05-31"] * 115 + ["soon"] * 5
    table = written(sold=sold, area=["20.5"] * 60 + [""] * 50 + ["1.5"] * 10)
    schema = """
        name = "houses"
        [target]
        name = "price"
        [[features]]
        name = "area"
        type = "number"
        minimum = 100
    """
    Path("own.toml").write_text(schema)
    refused(train(table, "--schema", "own.toml"), "20 clean rows", "outside its range", "blank")


def test_a_date_column_mixes_formats(train):
    sold = ["2024-05-31", "30/06/2024"] * (ROWS // 2)
    done = train(written(sold=sold), "--target", "price")
    refused(done, "'sold'", "'2024-05-31'", "'30/06/2024'", "write all alike")


def test_a_group_has_ten_rows(train):
    town = ["Oslo"] * (ROWS - 10) + ["Bergen"] * 10
    done = train(written(town=town), "--target", "price", "--group", "town")
    refused(done, "'town'", "'Bergen' has 10", "20 rows")


def test_a_group_that_is_not_there_is_asked_for(train):
    refused(train(written(), "--target", "price", "--group", "city"), "'city'", "town")


def test_a_groups_value_cannot_name_a_file(train):
    town = ["Oslo/West", "Bergen"] * (ROWS // 2)
    done = train(written(town=town), "--target", "price", "--group", "town")
    refused(done, "'Oslo/West'", "letters")


def test_two_columns_have_one_name(train):
    written()
    lines = Path("houses.csv").read_text().splitlines()
    Path("houses.csv").write_text("\n".join(["area,sold, AREA ,price", *lines[1:]]))
    refused(train("houses.csv", "--target", "price"), "columns 1 and 3", "'AREA'", "rename")


def test_a_column_has_no_name(train):
    written()
    lines = Path("houses.csv").read_text().splitlines()
    Path("houses.csv").write_text("\n".join(["area,,town,price", *lines[1:]]))
    refused(train("houses.csv", "--target", "price"), "column 2 has no name", "delete it")


def test_header_cells_are_merged(train):
    book = openpyxl.Workbook()
    book.active.append(["price", "house", None, None])
    for row in GOOD[["price", "area", "sold", "town"]].itertuples(index=False):
        book.active.append(list(row))
    book.active.merge_cells("B1:D1")
    book.save("houses.xlsx")
    refused(train("houses.xlsx", "--target", "price"), "column C has no name", "unmerge")


def test_no_column_is_left(train):
    GOOD[["price"]].assign(unit="NOK").to_csv("houses.csv", index=False)
    refused(train("houses.csv", "--target", "price"), "No column is left", "unit: constant")


def test_rows_have_more_cells_than_the_header(train):
    Path("houses.csv").write_text("area,price\n" + "1,2,3\n" * ROWS)
    refused(train("houses.csv", "--target", "price"), "houses.csv", "more cells")


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("name = ", "own.toml"),
        ('name = "houses"\n[target]\nname = "price"', "feature"),
        (
            'name = "h"\n[target]\nname = "price"\n[[features]]\nname = "area"\ntype = "text"',
            "area",
        ),
    ],
)
def test_the_schema_is_nonsense(train, schema, says):
    Path("own.toml").write_text(schema)
    refused(train(written(), "--schema", "own.toml"), "own.toml", says)


def test_the_schema_says_otherwise_than_the_options(train):
    Path("own.toml").write_text(
        'name = "h"\n[target]\nname = "price"\n[[features]]\nname = "area"\ntype = "number"'
    )
    asked = ["--schema", "own.toml", "--target", "area"]
    refused(train(written(), *asked), "'price'", "'area'", "change either")


def test_the_table_is_given_twice(train):
    refused(train(written(), "--source", "houses.csv", "--target", "price"), "once")


def test_the_file_is_not_there(train):
    refused(train("nowhere.csv", "--target", "price"), "nowhere.csv: no such file")


def test_the_file_gives_no_name(train):
    Path(written()).rename("价格.csv")
    refused(train("价格.csv", "--target", "price"), "--name")
