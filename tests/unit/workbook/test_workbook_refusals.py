import io
import zipfile

import pytest

from aimq.errors import TooLarge, UnsupportedMedia, WorkbookError
from aimq.workbook import file_type
from aimq.workbook.columns import check_columns
from tests.unit.workbook.workbooks import package, row, schema, zipped

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
HEADER = ("group", "kilometers", "fuel")
DATA = row("A", "1", "petrol")


@pytest.fixture
def check(header):
    return lambda file: check_columns(header(file), schema())


def test_a_workbook_with_all_columns_passes(check):
    check(package(row(*HEADER) + DATA))


def test_columns_match_without_case_space_or_order_and_others_are_left_alone(check):
    check(package(row("Note", " FUEL ", "Kilometers", "group") + DATA))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (OLE, "old .xls"),
        (OLE + b"x" * (1 << 20) + "EncryptedPackage".encode("utf-16-le"), "password"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x89PNG\r\n", "image"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\xef\xbb\xbf\n<html>", "web page"),
        (b"<div><table>", "web page"),
        (b'<?xml version="1.0"?><Workbook/>', "XML"),
        (b'{"a": 1}', "JSON"),
        (b"group;kilometers\nA;1\n", "CSV"),
        (b"group\tkilometers\n", "CSV"),
        (b"\x00\x01,\x02", "not a workbook"),
        (b"hello", "not a workbook"),
    ],
)
def test_another_kind_of_file_is_named_and_told_what_to_do(content, said, check):
    with pytest.raises(UnsupportedMedia, match=said) as caught:
        check(io.BytesIO(content))
    assert any(word in caught.value.detail for word in ("upload", "save"))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"xl/workbook.bin": ""}, "xlsb"),
        ({"word/document.xml": ""}, "Word"),
        ({"content.xml": "", "mimetype": ""}, "OpenDocument"),
        ({"cars.xlsx": ""}, "unpack it"),
        ({"readme.txt": ""}, "without a workbook"),
    ],
)
def test_another_kind_of_zip_is_named(parts, said, check):
    with pytest.raises(UnsupportedMedia, match=said):
        check(zipped(parts))


@pytest.mark.parametrize("kept", [4, 30, 200, -1, -30])
def test_a_truncated_workbook_is_damaged(kept, check):
    whole = package(row(*HEADER) + DATA).getvalue()

    with pytest.raises(UnsupportedMedia, match="damaged or incomplete"):
        check(io.BytesIO(whole[:kept]))


def test_an_encrypted_zip_needs_its_password_removed(check):
    content = bytearray(package(row(*HEADER) + DATA).getvalue())
    directory = content.index(b"PK\x01\x02")
    content[directory + 8] |= 1  # general purpose flag of the first entry: encrypted

    with pytest.raises(UnsupportedMedia) as caught:
        check(io.BytesIO(content))
    assert caught.value.detail == file_type.PROTECTED


def test_a_workbook_that_unpacks_to_more_than_the_bound_is_refused(check):
    bomb = package("", xl__media__noise=b"\0" * (65 * (1 << 20)))

    with pytest.raises(TooLarge, match="unpacks to 65 MiB"):
        check(bomb)


def test_a_size_that_lies_in_the_directory_does_no_harm(check):
    whole = package(row(*HEADER) + DATA)
    with zipfile.ZipFile(whole) as archive:
        claimed = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    lying = whole.getvalue().replace(claimed.to_bytes(4, "little"), (10).to_bytes(4, "little"))

    with pytest.raises(UnsupportedMedia, match="damaged"):
        check(io.BytesIO(lying))


def test_missing_columns_are_each_named_with_the_nearest_there_is(check):
    with pytest.raises(WorkbookError) as caught:
        check(package(row("group", "kilometer") + DATA))

    assert "kilometers, fuel" in caught.value.detail
    by_field = {error["field"]: error["message"] for error in caught.value.errors}
    assert by_field.keys() == {"kilometers", "fuel"}
    assert "'kilometer'" in by_field["kilometers"]


def test_only_a_header_is_told_apart_from_missing_columns(check):
    with pytest.raises(WorkbookError, match="only a header"):
        check(package(row(*HEADER)))


def test_an_empty_sheet_is_said_to_be_empty(check):
    with pytest.raises(WorkbookError, match="is empty"):
        check(package(""))
