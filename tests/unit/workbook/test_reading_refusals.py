"""What is refused before or while a workbook is read, and the words for it."""

import io
import struct
import zipfile

import openpyxl
import pytest

from aimq.errors import WorkbookError
from aimq.workbook.reading import read_workbook

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


def refusal(data, tmp_path, max_rows=1000, max_unpacked_mb=64):
    path = tmp_path / "in.xlsx"
    path.write_bytes(data)
    with pytest.raises(WorkbookError) as caught:
        read_workbook(path, max_rows=max_rows, max_unpacked_mb=max_unpacked_mb)
    return caught.value.detail


SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"%PDF-1.7 renamed", "not an .xlsx workbook"),
        (b"a,b\n1,2\n", "not an .xlsx workbook"),
        (other_zip("word/document.xml"), "not an .xlsx workbook"),
        (OLE + bytes(600), "old .xls workbook"),
        (OLE + bytes(600) + "EncryptedPackage".encode("utf-16-le"), "Remove the password"),
        (GOOD[: len(GOOD) // 2], "damaged or incomplete"),
        (GOOD[:-10], "damaged or incomplete"),
        (workbook_bytes([]), "no rows below a header row"),
        (workbook_bytes([["a", "b"]]), "no rows below a header row"),
        (all_hidden(), "Unhide the one"),
        (with_member(GOOD, SHEET, "<worksheet><broken"), "sheet|workbook"),
        (with_member(GOOD, SHEET, sheet_xml('<row r="1"><c r="A0"/></row>')), "workbook"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value.split("|")[0],
)
def test_a_file_that_cannot_be_scored_is_refused_with_what_to_change(data, said, tmp_path):
    detail = refusal(data, tmp_path)
    assert any(part in detail for part in said.split("|"))
    assert detail.endswith(".")
    assert "Traceback" not in detail


def test_too_many_rows_are_refused(tmp_path):
    assert "has 3 rows; at most 2" in refusal(GOOD, tmp_path, max_rows=2)


def test_as_many_rows_as_allowed_are_read(tmp_path):
    path = tmp_path / "in.xlsx"
    path.write_bytes(GOOD)
    assert len(read_workbook(path, max_rows=3, max_unpacked_mb=64).frame) == 3


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path):
    bomb = with_member(GOOD, "xl/media/zeros.bin", bytes(3 << 20))
    assert len(bomb) < 1 << 20
    assert "larger than 2 MiB once unpacked" in refusal(bomb, tmp_path, max_unpacked_mb=2)


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path):
    bomb = with_member(GOOD, "xl/media/zeros.bin", bytes(3 << 20))
    honest = struct.pack("<I", 3 << 20)
    lying = bomb.replace(honest, struct.pack("<I", 100))
    assert lying != bomb
    assert "larger than 2 MiB once unpacked" in refusal(lying, tmp_path, max_unpacked_mb=2)


@pytest.mark.parametrize("cell", ["XFD1048576", "XFD1", "ZZ1000000"])
def test_a_cell_far_outside_the_table_is_refused_before_it_takes_the_memory(cell, tmp_path):
    far = sheet_xml(f'<row r="1"><c r="A1"><v>1</v></c><c r="{cell}"><v>1</v></c></row>')
    detail = refusal(with_member(GOOD, SHEET, far), tmp_path)
    assert "Delete the rows and columns beyond the table" in detail
