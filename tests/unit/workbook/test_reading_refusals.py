"""What is refused before or while a workbook is read, and the words for it."""

import io
import struct
import zipfile

import openpyxl
import pytest

from aimq.errors import ClientError

SHEET = "xl/worksheets/sheet1.xml"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def workbook_bytes(rows):
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    stream = io.BytesIO()
    workbook.save(stream)
    return stream.getvalue()


GOOD = workbook_bytes([["a"], [1], [2], [3]])


def with_member(data, name, content):
    """Return the zip with one member replaced or added."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            if info.filename != name:
                new.writestr(info.filename, old.read(info))
        new.writestr(name, content)
    return stream.getvalue()


def sheet_xml(cells):
    return (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        f"{cells}</sheetData></worksheet>"
    )


def all_hidden():
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:
        book = archive.read("xl/workbook.xml").replace(b'state="visible"', b'state="hidden"')
    assert b"hidden" in book
    return with_member(GOOD, "xl/workbook.xml", book)


def other_zip(name):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "x")
    return stream.getvalue()


@pytest.fixture
def refusal(reader, tmp_path):
    def refusal(data, max_rows=1000):
        path = tmp_path / "in.xlsx"
        path.write_bytes(data)
        with pytest.raises(ClientError) as caught:
            reader.read(path, max_rows)
        return caught.value.detail

    return refusal


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"%PDF-1.7 renamed", "a PDF document"),
        (b"a,b\n1,2\n", "a CSV or text table"),
        (other_zip("word/document.xml"), "a Word document"),
        (OLE + bytes(600), "old .xls workbook"),
        (OLE + bytes(600) + "EncryptedPackage".encode("utf-16-le"), "remove the protection"),
        (GOOD[: len(GOOD) // 2], "damaged or incomplete"),
        (GOOD[:-10], "damaged or incomplete"),
        (workbook_bytes([]), "is empty: it needs a header row"),
        (workbook_bytes([["a", "b"]]), "has only a header"),
        (all_hidden(), "Unhide the one"),
        (with_member(GOOD, SHEET, "<worksheet><broken"), "damaged or incomplete"),
        (with_member(GOOD, SHEET, sheet_xml('<row r="1"><c r="A0"/></row>')), "damaged"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_a_file_that_cannot_be_scored_is_refused_with_what_to_change(data, said, refusal):
    detail = refusal(data)
    assert said in detail
    assert detail.endswith(".")
    assert "Traceback" not in detail


def test_too_many_rows_are_refused(refusal):
    assert "has 3 rows; at most 2" in refusal(GOOD, max_rows=2)


def test_as_many_rows_as_allowed_are_read(reader, tmp_path):
    path = tmp_path / "in.xlsx"
    path.write_bytes(GOOD)
    assert len(reader.read(path, 3).frame) == 3


def test_a_workbook_that_unpacks_to_too_much_is_refused(refusal):
    bomb = with_member(GOOD, "xl/media/zeros.bin", bytes(257 << 20))
    assert len(bomb) < 1 << 20
    assert "unpacks to 257 MiB; at most 256 MiB" in refusal(bomb)


def test_a_sheet_that_lies_about_its_size_is_refused(refusal):
    bomb = with_member(GOOD, SHEET, sheet_xml(" " * (3 << 20)))
    honest = struct.pack("<I", len(sheet_xml(" " * (3 << 20))))
    lying = bomb.replace(honest, struct.pack("<I", 100))
    assert lying != bomb
    assert "damaged" in refusal(lying)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("XFD1048576", "takes too much memory"),
        ("xfd1048576", "takes too much memory"),
        ("A999999999", "takes too much memory"),
        ("ZZZZ9", "beyond column XFD"),
        ("A1048577", "beyond column XFD or row 1,048,576"),
    ],
)
def test_a_cell_far_outside_the_table_is_refused_with_what_to_delete(cell, said, refusal):
    far = sheet_xml(
        f'<row r="1"><c r="A1"><v>1</v></c><c r="B1"><v>1</v></c><c r="{cell}"><v>1</v></c></row>'
    )
    detail = refusal(with_member(GOOD, SHEET, far))
    assert said in detail
    assert "Delete the rows and columns beyond the table" in detail
