"""What a file is that is no .xlsx, and what its owner can do about it."""

from __future__ import annotations

from collections.abc import Collection
from typing import BinaryIO, Final

_SAVE_AS: Final = "open it in a spreadsheet program, save it as .xlsx, and upload that"
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
#: Name of the stream that holds an encrypted workbook ([MS-OFFCRYPTO] 2.3.4.4), as OLE stores it.
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
#: How much of a file is looked at.
HEAD: Final = 4096
_ZIP: Final = b"PK\x03\x04"

PROTECTED: Final = (
    "The workbook is protected by a password: remove the protection, save it, and upload it again."
)
EMPTY: Final = "The file is empty: upload an .xlsx workbook."
DAMAGED: Final = (
    "The workbook is damaged or incomplete: open it in a spreadsheet program, save it again as "
    ".xlsx, and upload that."
)

_OTHER_SIGNATURES: Final = {
    b"%PDF": "a PDF document: export its table, save it as .xlsx, and upload that",
    b"\x89PNG": "an image: type the table into a spreadsheet, and upload that",
    b"\xff\xd8\xff": "an image: type the table into a spreadsheet, and upload that",
    b"\x1f\x8b": "a gzip archive: unpack it, and upload the .xlsx inside",
    b"Rar!": "a RAR archive: unpack it, and upload the .xlsx inside",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it, and upload the .xlsx inside",
    b"PAR1": f"a Parquet file: {_SAVE_AS}",
}
#: Part of a zip to what the zip is.
_OTHER_PARTS: Final = {
    "xl/workbook.bin": f"a binary workbook (.xlsb): {_SAVE_AS}",
    "word/document.xml": "a Word document: copy its table to a spreadsheet, and upload that",
    "ppt/presentation.xml": "a presentation: copy its table to a spreadsheet, and upload that",
    "content.xml": f"an OpenDocument file: {_SAVE_AS}",
    "index/document.iwa": f"a Numbers or Pages document: {_SAVE_AS}",
}


def is_zip(file: BinaryIO) -> bool:
    """True if the file begins as a zip does."""
    return _head(file).startswith(_ZIP)


def refusal(file: BinaryIO) -> str:
    """Return the sentence on a file that is no zip."""
    head = _head(file)
    if not head:
        return EMPTY
    if head.startswith(_OLE):
        return PROTECTED if _holds(file, _ENCRYPTED) else _said(f"an old .xls workbook: {_SAVE_AS}")
    for signature, what in _OTHER_SIGNATURES.items():
        if head.startswith(signature):
            return _said(what)
    return _said(_text_kind(head))


def refusal_of_zip(parts: Collection[str]) -> str:
    """Return the sentence on a zip without a workbook's parts; `parts` are in lower case."""
    for part, what in _OTHER_PARTS.items():
        if part in parts:
            return _said(what)
    if any(part.endswith(".xlsx") for part in parts):
        return _said("a zip archive: unpack it, and upload the .xlsx inside")
    return _said("a zip archive without a workbook: upload an .xlsx workbook")


def _said(what: str) -> str:
    return f"The file is {what}."


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(HEAD)


def _holds(file: BinaryIO, wanted: bytes) -> bool:
    """Search in blocks that overlap, so that a match across two is found."""
    file.seek(0)
    kept = b""
    while block := file.read(1024 * 1024):
        if wanted in kept + block:
            return True
        kept = block[-len(wanted) :]
    return False


def _text_kind(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:512].lower()
    if start.startswith((b"<!doctype html", b"<html")) or b"<table" in start:
        return f"a web page: {_SAVE_AS}"
    if start.startswith((b"<?xml", b"<workbook")):
        return f"an XML file: {_SAVE_AS}"
    if start.startswith((b"{", b"[")):
        return "JSON: send a single record to POST /predict, or upload an .xlsx workbook"
    if b"\0" in head:
        return "not a workbook: upload an .xlsx workbook"
    if any(mark in head.split(b"\n", 1)[0] for mark in (b",", b";", b"\t")):
        return f"a CSV or text table: {_SAVE_AS}"
    return "not a workbook: upload an .xlsx workbook"
