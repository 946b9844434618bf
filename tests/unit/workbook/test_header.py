import io
import random

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimq.errors import ClientError, UnsupportedMedia, WorkbookError
from tests.unit.workbook.workbooks import MAIN, OFFICE, cell, package, row, sheet

HEADER = ["group", "kilometers", "fuel"]


def written(rows):
    file = io.BytesIO()
    book = openpyxl.Workbook()
    for values in rows:
        book.active.append(values)
    book.save(file)
    return file


def test_the_header_of_a_workbook_by_openpyxl_is_read(header):
    assert header(written([HEADER, ["A", 1, "petrol"]])) == HEADER


@settings(max_examples=25)
@given(
    names=st.lists(
        st.text(st.characters(min_codepoint=33, exclude_categories=("Cs", "Cc", "Cn")), min_size=1),
        min_size=1,
        max_size=8,
    )
)
def test_any_text_in_a_header_comes_as_it_was_written(header, names):
    texts = ["_" + text for text in names]  # a leading = would make a formula of it

    assert header(written([texts, [1]])) == texts


def test_blank_rows_before_header_and_data_are_passed_over(header):
    rows = "<row/>" + row(" ") + row(*HEADER) + "<row><c/></row>" + row("", "A")

    assert header(package(rows)) == HEADER


def test_rows_that_are_only_formatted_are_no_data(header):
    rows = row(*HEADER) + '<row><c s="4"/><c s="4"><v></v></c></row>'

    with pytest.raises(WorkbookError, match="only a header"):
        header(package(rows))


def test_rich_text_is_joined_and_its_phonetic_reading_left_out(header):
    strings = "<si><r><t>kilo</t></r><r><t>meters</t></r><rPh><t>キロ</t></rPh></si>"
    rows = '<row><c t="s"><v>0</v></c></row>' + row("1")

    assert header(package(rows, strings)) == ["kilometers"]


def test_a_prefixed_document_is_read_as_well(header):
    cells = "".join(f'<x:row><x:c t="str"><x:v>{text}</x:v></x:c></x:row>' for text in ("group", 1))
    part = f'<x:worksheet xmlns:x="{MAIN}"><x:sheetData>{cells}</x:sheetData></x:worksheet>'

    assert header(package("", **{"xl__worksheets__sheet1.xml": part})) == ["group"]


def test_the_first_tab_counts_not_the_first_part(header):
    book = openpyxl.Workbook()
    book.active.append(["second"])
    first = book.create_sheet("first", 0)
    first.append(["first"])
    first.append([1])
    file = io.BytesIO()
    book.save(file)

    assert header(file) == ["first"]


def test_a_chart_sheet_in_front_is_passed_over(header):
    book = openpyxl.Workbook()
    book.active.append(["group"])
    book.active.append([1])
    book.create_chartsheet("chart", 0)
    file = io.BytesIO()
    book.save(file)

    assert header(file) == ["group"]


def test_a_header_far_from_the_beginning_is_left_open(header):
    assert header(package("<row/>" * 400_000 + row(*HEADER) + row("A"))) is None


def test_a_shared_string_far_from_the_beginning_is_left_open(header):
    rows = '<row><c t="s"><v>300000</v></c></row>' + row("A")

    assert header(package(rows, "<si><t>x</t></si>" * 300_001)) is None


def test_only_the_beginning_of_a_long_sheet_is_unpacked(header):
    rows = row(*HEADER) + row("A", "1", "petrol") * 30_000 + "<row><damaged"

    assert header(package(rows)) == HEADER


def test_the_header_of_a_workbook_that_hardly_shrinks_is_read(header):
    noise = random.Random(1)
    rows = "".join(row(noise.randbytes(200).hex()) for _ in range(15_000))
    file = package(row(*HEADER) + rows)

    assert len(file.getvalue()) > 3 << 20
    assert header(file) == HEADER


DOCTYPE = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(package(DOCTYPE + sheet(row("&b;"))), id="entities"),
        pytest.param(package('<row><c t="s"><v>7</v></c></row>', "<si/>"), id="no such string"),
        pytest.param(package('<row><c t="s"><v>0</v></c></row>'), id="no strings at all"),
        pytest.param(
            package("", **{"xl__workbook.xml": DOCTYPE + f'<workbook xmlns="{MAIN}"/>'}),
            id="entities in the workbook part",
        ),
    ],
)
def test_a_package_that_makes_no_sense_is_damaged(header, file):
    with pytest.raises(UnsupportedMedia, match="damaged"):
        header(file)


@pytest.mark.parametrize("rows", ["<row>", '<row><c t="s"><v>x</v></c></row>'])
def test_a_sheet_that_makes_no_sense_is_refused(header, rows):
    with pytest.raises(ClientError):
        header(package(rows, "<si/>"))


@pytest.mark.parametrize("sheets", ["", '<sheet name="x" r:id="r9"/>'])
def test_a_workbook_without_a_sheet_is_refused(header, sheets):
    book = f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{sheets}</sheets></workbook>'

    with pytest.raises(WorkbookError, match="no visible sheet"):
        header(package("", **{"xl__workbook.xml": book}))


def test_bytes_changed_anywhere_are_refused_or_do_no_harm(header):
    good = package(row(*HEADER) + row("A"), "<si><t>x</t></si>").getvalue()
    for place in range(0, len(good), 7):
        changed = bytearray(good)
        changed[place] ^= 0xFF
        try:
            assert header(io.BytesIO(changed)) is not None
        except ClientError:
            continue


def test_a_directory_over_the_bound_is_refused_unread(header):
    many = {f"part{number:04}{'x' * 500}": "" for number in range(2000)}

    with pytest.raises(UnsupportedMedia, match="damaged"):
        header(package(cell("x"), **many))
