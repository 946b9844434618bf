"""What Excel refuses is made to fit, and said."""

import openpyxl
import pandas as pd
import pytest

from aimq.workbook.sheet import Sheet
from aimq.workbook.writing import MAX_TEXT, fitting_name, write_workbook


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        ("Data", "Data"),
        ("x" * 40, "x" * 31),
        ("a/b\\c[d]e:f*g?", "a_b_c_d_e_f_g_"),
        ("'quoted'", "quoted"),
        ("it's", "it's"),
        ("", "Sheet1"),
        ("''", "Sheet1"),
        ("History", "Sheet1"),
        ("😀" * 20, "😀" * 15),
        ('a"b<c>&', 'a"b<c>&'),
    ],
)
def test_a_name_of_a_sheet_is_made_to_fit_and_noted(name, fitting, tmp_path):
    notes = write_workbook(Sheet(name, ["a"], pd.DataFrame({0: [1.0]})), tmp_path / "out.xlsx")
    assert fitting_name(name) == fitting
    assert openpyxl.load_workbook(tmp_path / "out.xlsx").sheetnames == [fitting]
    assert bool(notes) == (name != fitting)


def test_texts_and_headers_that_are_too_long_are_cut_and_counted(tmp_path):
    frame = pd.DataFrame({0: ["x" * 40_000, "y", "😀" * 20_000]})
    notes = write_workbook(Sheet("S", ["h" * 40_000], frame), tmp_path / "out.xlsx")
    cells = [cell.value for cell in openpyxl.load_workbook(tmp_path / "out.xlsx").active["A"]]
    assert cells == ["h" * MAX_TEXT, "x" * MAX_TEXT, "y", "😀" * (MAX_TEXT // 2)]
    assert notes == ["3 texts are cut to 32,767 characters."]


def test_what_xml_cannot_hold_is_escaped_and_read_again(read, tmp_path):
    texts = ["a\x01b", "_x0041_", "line\r\nend", "tab\there"]
    write_workbook(Sheet("S", ["a"], pd.DataFrame({0: texts})), tmp_path / "out.xlsx")
    assert read(tmp_path / "out.xlsx").frame[0].tolist() == texts


def test_numbers_that_excel_does_not_know_are_left_empty(tmp_path):
    frame = pd.DataFrame({0: [1.0, float("inf"), float("nan"), 2.5]})
    write_workbook(Sheet("S", ["a"], frame), tmp_path / "out.xlsx")
    cells = [cell.value for cell in openpyxl.load_workbook(tmp_path / "out.xlsx").active["A"]]
    assert cells == ["a", 1, None, None, 2.5]
