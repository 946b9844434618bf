"""What a cell is when it is read, and that it is the same when it has been written again."""

import datetime as dt
import re
import zipfile

import openpyxl
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimq.workbook.sheet import Sheet
from aimq.workbook.writing import write_workbook

D = dt.datetime


def book(path, *rows, title="Data", prepare=lambda sheet: None):
    """Write rows with openpyxl; a text that begins with = stays a text."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = title
    for number, row in enumerate(rows, start=1):
        for place, value in enumerate(row, start=1):
            cell = sheet.cell(number, place, value)
            if isinstance(value, str) and not value.startswith("#"):
                cell.data_type = "s"
    prepare(sheet)
    workbook.save(path)
    return path


def cells(path):
    sheet = openpyxl.load_workbook(path).worksheets[0]
    return [list(row) for row in sheet.iter_rows(values_only=True)]


@pytest.fixture
def again(read, tmp_path):
    """Read, write, and return what openpyxl sees then."""

    def again(path):
        target = tmp_path / "again.xlsx"
        write_workbook(read(path), target)
        return cells(target)

    return again


COLUMNS = {
    "numbers": [1, 2.5, -3, 1e300, 0],
    "text": ["a", "=1+1", "+x", "@x", "-x"],
    "digits as text": ["00123", "1", "1.0", "1e5", "TRUE"],
    "unicode": ["é", "☃", "😀", "a\nb", " padded "],
    "booleans": [True, False, None, True, False],
    "dates": [D(2020, 1, 1), D(1999, 12, 31), None, D(1900, 3, 1), D(2024, 2, 29)],
    "moments": [D(2020, 1, 1, 3, 4, 5), D(2020, 1, 1), None, None, D(2021, 1, 1, 23, 59, 59)],
    "times": [dt.time(1, 2, 3), dt.time(23, 59), None, None, dt.time(12, 30)],
    "durations": [dt.timedelta(hours=30), dt.timedelta(minutes=90), None, None, None],
    "empty": [None, None, None, None, None],
    "some empty": [None, 1, None, None, 2],
    "numbers and text": [1, "1", 1.5, "x", None],
    "all sorts": [1, "1", True, "true", 2.5],
    "booleans and text": [True, "true", False, "false", None],
    "dates and text": [D(2020, 1, 1), "unknown", None, "2020-01-01", D(2021, 1, 1)],
    "numbers and error cells": [1, "#N/A", 2, "#DIV/0!", None],
    "long": ["x" * 32_767, None, None, None, None],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_back_as_it_was(name, tmp_path, again):
    given_rows = [[name, "key"], *([value, n] for n, value in enumerate(COLUMNS[name]))]
    assert again(book(tmp_path / "in.xlsx", *given_rows)) == given_rows


def kinds(rows):
    return [[type(value) for value in row] for row in rows]


@pytest.mark.parametrize("name", ["numbers", "some empty", "numbers and text", "all sorts"])
def test_whole_numbers_come_back_as_whole_numbers(name, tmp_path, again):
    given_rows = [[name, "key"], *([value, n] for n, value in enumerate(COLUMNS[name]))]
    back = again(book(tmp_path / "in.xlsx", *given_rows))
    assert kinds(back) == kinds(given_rows)


def test_digits_and_dots_in_text_are_left_alone(tmp_path, again):
    words = ["1.0", "1.0</v>", "<v>2.0</v>", "&lt;v&gt;3.0&lt;/v&gt;", "]]>4.0</v>"]
    given_rows = [[".0</v>", "n"], *([word, 2**53 - n] for n, word in enumerate(words))]
    back = again(book(tmp_path / "in.xlsx", *given_rows))
    assert (back, kinds(back)) == (given_rows, kinds(given_rows))


def test_whole_numbers_are_whole_however_large_the_sheet_is(tmp_path):
    frame = pd.DataFrame({0: [float(n) for n in range(60_000)], 1: "x" * 40})
    write_workbook(Sheet("S", ["n", "t"], frame), tmp_path / "out.xlsx")
    with zipfile.ZipFile(tmp_path / "out.xlsx") as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml")
        assert archive.testzip() is None
    assert re.findall(rb"<v>(.*?)</v>", sheet) == [b"%d" % n for n in range(60_000)]


def test_all_columns_side_by_side_come_back_as_they_were(tmp_path, again):
    given_rows = [list(COLUMNS), *map(list, zip(*COLUMNS.values(), strict=True))]
    assert again(book(tmp_path / "in.xlsx", *given_rows)) == given_rows


def test_text_is_stored_as_text_and_never_as_a_formula(tmp_path, read):
    source = book(tmp_path / "in.xlsx", ["a"], ["=1+1"], ["+1"], ["@SUM(A1)"], ["-1+1"])
    write_workbook(read(source), tmp_path / "out.xlsx")
    sheet = openpyxl.load_workbook(tmp_path / "out.xlsx").active
    assert {cell.data_type for cell in sheet["A"]} == {"s"}


def test_a_date_among_numbers_stays_a_date_and_no_number_turns_into_one(tmp_path, again):
    source = book(tmp_path / "in.xlsx", ["a"], [D(2020, 1, 1)], [7])
    assert again(source) == [["a"], [D(2020, 1, 1)], [7]]


@pytest.mark.parametrize(
    "headers",
    [
        ["dup", "dup", "dup_1", "b"],
        ["a", None, "c", None],
        ["a_1", "a_2", "a_1", "__UNNAMED__0"],
        [" padded ", "UPPER", "é", "predicted_price"],
        ["x", 2020, 1.5, True],
    ],
)
def test_headers_are_kept_blank_and_duplicate_ones_too(headers, tmp_path, again):
    for row in ([1, 2, 3, 4], [1, "x", None, True]):
        back = again(book(tmp_path / "in.xlsx", headers, row, ["y", 1, 2, 3]))
        shown = [h if h is None or isinstance(h, str) else str(h).lower() for h in headers]
        assert back == [shown, row, ["y", 1, 2, 3]]


def test_blank_rows_in_the_middle_are_kept_and_leading_ones_dropped(tmp_path, again):
    source = book(tmp_path / "in.xlsx", [], [], [None, "a", "b"], [None, 1, 2], [], [None, 3, 4])
    assert again(source) == [["a", "b"], [1, 2], [None, None], [3, 4]]


def test_the_first_visible_sheet_is_read(tmp_path, read):
    workbook = openpyxl.Workbook()
    workbook.active.append(["hidden"])
    workbook.active.sheet_state = "hidden"
    for title in ("Cars & <Vans>", "Later"):
        workbook.create_sheet(title).append([title])
        workbook[title].append([1])
    workbook.active = 1
    workbook.save(tmp_path / "in.xlsx")
    sheet = read(tmp_path / "in.xlsx")
    assert (sheet.name, sheet.headers) == ("Cars & <Vans>", ["Cars & <Vans>"])


def test_merged_header_cells_give_one_name_and_blank_ones(tmp_path, read):
    source = book(
        tmp_path / "in.xlsx", ["a", "b", "c"], [1, 2, 3], prepare=lambda s: s.merge_cells("A1:B1")
    )
    assert read(source).headers == ["a", "", "c"]


def test_dates_of_the_1904_calendar_are_the_same_days(tmp_path, again):
    workbook = openpyxl.Workbook()
    workbook.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
    workbook.active.append(["d", "m"])
    workbook.active.append([D(2020, 1, 1), D(2020, 1, 1)])
    workbook.active.append([D(2020, 1, 2), "x"])
    workbook.save(tmp_path / "in.xlsx")
    back = again(tmp_path / "in.xlsx")
    assert back[1:] == [[D(2020, 1, 1), D(2020, 1, 1)], [D(2020, 1, 2), "x"]]


def test_appended_columns_come_last_and_namesakes_stay(tmp_path):
    sheet = Sheet("S", ["error", "a"], pd.DataFrame({0: ["mine"], 1: [1.0]}))
    added = {"predicted_price": pd.Series([2.5]), "error": pd.Series([None], dtype="str")}
    write_workbook(sheet.with_columns(added), tmp_path / "out.xlsx")
    assert cells(tmp_path / "out.xlsx") == [
        ["error", "a", "predicted_price", "error"],
        ["mine", 1, 2.5, None],
    ]


text = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=20
).filter(lambda t: t == "" or t.strip())
cell = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.integers(-(2**53), 2**53),
    text.filter(bool),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cell, cell), min_size=1, max_size=8))
def test_any_table_survives_being_written_and_read(read, tmp_path, rows):
    frame = pd.DataFrame(
        {n: pd.Series([float(c) if type(c) is int else c for c in column], dtype=object)
         for n, column in enumerate(zip(*rows, strict=True))}
    )  # fmt: skip
    frame[2] = 1.0
    write_workbook(Sheet("S", ["a", "b", "k"], frame), tmp_path / "t.xlsx")
    back = read(tmp_path / "t.xlsx").frame
    got = back.astype(object).where(back.notna(), None)
    assert got[[0, 1]].values.tolist() == frame[[0, 1]].values.tolist()
    assert [[type(c) for c in row] for row in got[[0, 1]].values.tolist()] == [
        [type(c) for c in row] for row in frame[[0, 1]].values.tolist()
    ]
