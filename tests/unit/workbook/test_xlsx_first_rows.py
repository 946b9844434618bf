import io

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rustpy_xlsxwriter import write_worksheet

from aimq.workbook import header
from aimq.workbook.header import Damaged, FirstRows, Package
from tests.unit.workbook.workbooks import cell, package, row, sheet

HEADER = ["group", "kilometers", "fuel"]


def first_rows(file):
    return Package(file).first_rows()


def written(rows):
    file = io.BytesIO()
    book = openpyxl.Workbook()
    for values in rows:
        book.active.append(values)
    book.save(file)
    return file


def test_the_header_of_a_workbook_by_openpyxl_is_read():
    assert first_rows(written([HEADER, ["A", 1, "petrol"]])) == FirstRows(HEADER, has_data=True)


def test_the_header_of_a_workbook_by_rust_xlsxwriter_is_read(tmp_path):
    path = tmp_path / "cars.xlsx"
    write_worksheet([dict(zip(HEADER, ["A", 1, "petrol"], strict=True))], str(path))

    with path.open("rb") as file:
        assert first_rows(file) == FirstRows(HEADER, has_data=True)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.text(st.characters(min_codepoint=33, exclude_categories=("Cs", "Cc", "Cn")), min_size=1),
        min_size=1,
        max_size=8,
    )
)
def test_any_text_in_a_header_comes_as_it_was_written(header):
    texts = ["_" + text for text in header]  # a leading = would make a formula of it

    assert first_rows(written([texts, [1]])).header == texts


def test_blank_rows_before_header_and_data_are_passed_over():
    rows = "<row/>" + row(" ") + row(*HEADER) + "<row><c/></row>" + row("", "A")

    assert first_rows(package(rows)) == FirstRows(HEADER, has_data=True)


def test_rows_that_are_only_formatted_are_no_data():
    rows = row(*HEADER) + '<row><c s="4"/><c s="4"><v></v></c></row>'

    assert first_rows(package(rows)) == FirstRows(HEADER, has_data=False)


def test_an_empty_sheet_has_an_empty_header():
    assert first_rows(package("")) == FirstRows([], has_data=False)


def test_rich_text_is_joined_and_its_phonetic_reading_left_out():
    strings = "<si><r><t>kilo</t></r><r><t>meters</t></r><rPh><t>キロ</t></rPh></si>"
    rows = '<row><c t="s"><v>0</v></c></row>' + row("1")

    assert first_rows(package(rows, strings)).header == ["kilometers"]


def test_a_prefixed_document_is_read_as_well():
    part = (
        '<x:worksheet xmlns:x="m"><x:sheetData><x:row><x:c t="str"><x:v>group</x:v></x:c></x:row>'
        "</x:sheetData></x:worksheet>"
    )

    assert first_rows(package("", **{"xl__worksheets__sheet1.xml": part})).header == ["group"]


def test_the_first_tab_counts_not_the_first_part():
    book = openpyxl.Workbook()
    book.active.append(["second"])
    first = book.create_sheet("first", 0)
    first.append(["first"])
    file = io.BytesIO()
    book.save(file)

    assert first_rows(file).header == ["first"]


def test_a_chart_sheet_in_front_is_passed_over():
    book = openpyxl.Workbook()
    book.active.append(["group"])
    book.create_chartsheet("chart", 0)
    file = io.BytesIO()
    book.save(file)

    assert first_rows(file).header == ["group"]


def test_a_header_beyond_the_bound_is_left_open(monkeypatch):
    monkeypatch.setattr(header, "MAX_SCANNED", 2000)

    assert first_rows(package("<row/>" * 1000 + row(*HEADER))) == FirstRows(None, has_data=None)


def test_a_shared_string_beyond_the_bound_is_left_open(monkeypatch):
    monkeypatch.setattr(header, "MAX_SCANNED", 2000)
    rows = '<row><c t="s"><v>999</v></c></row>' + row("A")

    found = first_rows(package(rows, "<si><t>x</t></si>" * 1000))

    assert found == FirstRows(None, has_data=True)


def test_only_the_beginning_of_a_long_sheet_is_unpacked():
    file = package(row(*HEADER) + row("A", "1", "petrol") * 200_000)
    reads = []

    class Watched(io.BytesIO):
        def read(self, size=-1):
            data = super().read(size)
            reads.append(len(data))
            return data

    assert first_rows(Watched(file.getvalue())).has_data
    assert sum(reads) < 150_000


DOCTYPE = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(package(DOCTYPE + sheet(row("&b;"))), id="entities"),
        pytest.param(package("<row>"), id="cut-off XML"),
        pytest.param(package('<row><c t="s"><v>7</v></c></row>', "<si/>"), id="no such string"),
        pytest.param(package('<row><c t="s"><v>0</v></c></row>'), id="no strings at all"),
        pytest.param(package('<row><c t="s"><v>x</v></c></row>', "<si/>"), id="no number"),
        pytest.param(package("", **{"xl__workbook.xml": "<workbook/>"}), id="no sheet"),
        pytest.param(
            package("", **{"xl__workbook.xml": '<workbook><sheet r:id="r9"/></workbook>'}),
            id="dangling relation",
        ),
    ],
)
def test_a_package_that_makes_no_sense_is_damaged(file):
    with pytest.raises(Damaged):
        first_rows(file)


def test_bytes_changed_anywhere_never_raise_anything_else():
    good = package(row(*HEADER) + row("A"), "<si><t>x</t></si>").getvalue()
    for place in range(0, len(good), 3):
        changed = bytearray(good)
        changed[place] ^= 0xFF
        try:
            first_rows(io.BytesIO(changed))
        except Damaged:
            continue


def test_a_directory_over_the_bound_is_refused_unread(monkeypatch):
    monkeypatch.setattr(header, "MAX_DIRECTORY", 70_000)
    many = {f"part{number:04}": "" for number in range(2000)}

    with pytest.raises(Damaged, match="directory"):
        Package(package(cell("x"), **many))
