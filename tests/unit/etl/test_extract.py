from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from aimq.errors import Invalid, NotFound, UnsupportedMedia
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
    ],
)
def test_a_table_that_cannot_be_read_is_one_clear_error(name: str, content: bytes, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Invalid, match=name):
        extract(tmp_path / name)
