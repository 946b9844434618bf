from __future__ import annotations

import zipfile
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from aimq.schema import load_schema, match_columns, read_columns
from etl.pipeline import SCHEMAS
from etl.samples import CHANGES, FOLDER, SIZES, write_all

SCHEMA = load_schema(SCHEMAS / "used_cars.toml")


def read(path: Path):
    frame = pd.read_excel(path, engine="calamine", keep_default_na=False, na_values=[""])
    found, missing = match_columns(SCHEMA, list(frame.columns))
    assert missing == []
    named = frame.iloc[:, list(found.values())].set_axis(list(found), axis=1)
    return frame, read_columns(SCHEMA, named)


def unpacked(path: Path) -> dict[str, bytes]:
    """The parts of a workbook; how they are squeezed depends on the zlib at hand."""
    with zipfile.ZipFile(path) as book:
        return {name: book.read(name) for name in book.namelist()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_all(folder)
    return folder


@pytest.mark.parametrize("name", [*SIZES, "mixed_errors.xlsx"])
def test_the_committed_sample_files_are_those_that_the_code_writes(name: str, written: Path):
    assert unpacked(written / name) == unpacked(FOLDER / name)


@pytest.mark.parametrize(("name", "rows"), SIZES.items())
def test_every_row_of_the_plain_samples_is_valid(name: str, rows: int):
    frame, columns = read(FOLDER / name)
    assert len(frame) == rows
    assert list(frame.columns) == list(SCHEMA.columns)
    assert columns.valid.all()


def test_the_wrong_rows_of_mixed_errors_are_wrong_and_the_fine_ones_fine():
    frame, columns = read(FOLDER / "mixed_errors.xlsx")
    fine = [str(remark).endswith("(fine)") or remark == "nothing" for remark in frame["remark"]]
    assert columns.valid.tolist() == fine
    assert len(frame) == len(CHANGES) + 1


def test_no_cell_of_mixed_errors_is_a_formula():
    book = openpyxl.load_workbook(FOLDER / "mixed_errors.xlsx")
    cells = [cell for row in book.active for cell in row]
    assert any(str(cell.value).startswith("=") for cell in cells)
    assert all(cell.data_type != "f" for cell in cells)
