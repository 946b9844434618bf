from __future__ import annotations

import datetime as dt
from pathlib import Path

import pandas as pd
import pytest

from aimq.errors import Invalid, NotFound, UnsupportedMedia
from etl.column_names import column_letter
from etl.extract import extract
from etl.samples import write_workbook

ROWS = [["name", "climate", "km"], ["Größe", "None", "12"], ["", "NA", " 3.5 "]]
EXPECTED = pd.DataFrame(ROWS[1:], columns=ROWS[0], dtype=str)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_cells_are_text_as_they_stand(separator: str, encoding: str, tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text("\r\n".join(separator.join(row) for row in ROWS), encoding=encoding)
    pd.testing.assert_frame_equal(extract(path), EXPECTED)


def test_a_row_shorter_than_the_header_ends_in_blanks(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text("name,climate,km\nx\n,NA,3\n", encoding="utf-8")
    assert extract(path).to_numpy().tolist() == [["x", "", ""], ["", "NA", "3"]]


def test_workbook_cells_are_text_as_they_stand(tmp_path: Path):
    path = tmp_path / "table.XLSX"
    write_workbook(path, [ROWS[0], ["Größe", "None", 12], [None, "NA", " 3.5 "]])
    pd.testing.assert_frame_equal(extract(path), EXPECTED)


def test_no_such_file_is_said(tmp_path: Path):
    with pytest.raises(NotFound, match="no such file"):
        extract(tmp_path / "table.csv")


def test_another_kind_of_file_is_refused_with_what_is_read(tmp_path: Path):
    (tmp_path / "table.pdf").touch()
    with pytest.raises(UnsupportedMedia, match=r"\.csv.*\.xlsx"):
        extract(tmp_path / "table.pdf")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("header.csv", b"a,b\n"),
        ("latin.csv", "größe,b\n1,2\n".encode("latin-1")),
        ("ragged.csv", b"a,b\n1,2\n1,2,3,4\n"),
        ("text.xlsx", b"a,b\n1,2\n"),
        ("empty.xlsx", b""),
        ("text.parquet", b"a,b"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_clear_error(name: str, content: bytes, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Invalid, match=name):
        extract(tmp_path / name)


def test_parquet_cells_are_text_as_other_files_have_them(tmp_path: Path):
    frame = pd.DataFrame(
        {
            "day": [dt.date(2024, 5, 31), None],
            "moment": pd.to_datetime(["2024-05-31 10:30", None]),
            "whole": pd.array([3, None], dtype="Int64"),
            "number": [1.5, float("nan")],
            "round": [1065.0, 2.0],
            "truth": [True, None],
            "kind": pd.Categorical(["None", None]),
        }
    )
    frame.to_parquet(tmp_path / "table.parquet")
    read = extract(tmp_path / "table.parquet")
    assert read.iloc[0].str.slice(0, 16).tolist() == [
        "2024-05-31", "2024-05-31 10:30", "3", "1.5", "1065", "true", "None",
    ]  # fmt: skip
    assert read.iloc[1].tolist() == ["", "", "", "", "2", "", ""]


def test_a_parquet_column_of_lists_is_named(tmp_path: Path):
    pd.DataFrame({"a": [1], "tags": [["x", "y"]]}).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(Invalid, match=r"'tags' holds list"):
        extract(tmp_path / "table.parquet")


def test_dates_of_a_workbook_are_iso(tmp_path: Path):
    write_workbook(tmp_path / "t.xlsx", [["day", "n"], [dt.date(2024, 5, 31), 1.0], [None, 2]])
    assert extract(tmp_path / "t.xlsx").to_numpy().tolist() == [
        ["2024-05-31 00:00:00", "1"],
        ["", "2"],
    ]


def test_columns_without_name_and_cells_are_passed_over(tmp_path: Path):
    (tmp_path / "table.csv").write_text("a,b,\n1,2,\n3,4,\n")
    assert list(extract(tmp_path / "table.csv").columns) == ["a", "b"]


@pytest.mark.parametrize(
    ("place", "letters"), [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA")]
)
def test_columns_of_a_sheet_have_letters(place: int, letters: str):
    assert column_letter(place) == letters


def test_a_workbook_that_makes_its_reader_panic_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class PanicException(BaseException):
        """As pyo3 raises it: no `Exception`, and no module has its class."""

    def panic(*_: object, **__: object) -> None:
        raise PanicException

    monkeypatch.setattr(pd, "read_excel", panic)
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(Invalid, match=r"t\.xlsx: is damaged"):
        extract(tmp_path / "t.xlsx")
