"""Crafted workbooks: hostile, odd but valid, and files that are no workbooks. All are small."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import openpyxl

from tests.unit.workbook.workbooks import MAIN, OFFICE, package, relations, row, sheet, zipped

COLUMNS: Final = (
    "model_group", "model", "kilometers", "fuel_type", "gear_type", "vehicle_type",
    "age_in_months", "color", "line", "doors", "seats", "climate",
)  # fmt: skip
TABLE: Final = row(*COLUMNS) + row(*"ABCDEFGHIJKL")
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


def _at(reference: str) -> bytes:
    """A table with one more cell somewhere."""
    return package(TABLE + f'<row><c r="{reference}"><v>1</v></c></row>').getvalue()


def _deep_xml() -> bytes:
    return package(TABLE, **{"xl__workbook.xml": "<a>" * 3_000_000}).getvalue()


def _deep_sheet() -> bytes:
    return package(TABLE + "<a>" * 3_000_000).getvalue()


def _giant_token() -> bytes:
    return package(TABLE + f"<row><c><v>{'1' * (32 << 20)}</v></c></row>").getvalue()


def _giant_attribute() -> bytes:
    return package(f'<row><c r="{"A" * (32 << 20)}"><v>1</v></c></row>' + TABLE).getvalue()


def _many_attributes() -> bytes:
    attributes = " ".join(f'a{number}="1"' for number in range(500_000))
    return package(f"<row {attributes}/>" + TABLE).getvalue()


def _repeated_string(cells: int) -> bytes:
    """One text of 32,767 characters in many cells."""
    many = '<row><c t="s"><v>0</v></c></row>' * cells
    return package(TABLE + many, f"<si><t>{'x' * 32_767}</t></si>").getvalue()


def _zip_bomb() -> bytes:
    return package(TABLE + " " * (300 << 20)).getvalue()


def _many_parts() -> bytes:
    return package(TABLE, **{f"part{number}": "" for number in range(30_000)}).getvalue()


def _lying_size() -> bytes:
    whole = package(TABLE).getvalue()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        size = archive.getinfo("xl/worksheets/sheet1.xml").file_size
    return whole.replace(struct.pack("<I", size), struct.pack("<I", 10))


def _overlapping() -> bytes:
    """Two entries of the directory with the same bytes."""
    whole = package(TABLE, **{"xl__worksheets__sheet2.xml": sheet(TABLE)}).getvalue()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        first = archive.getinfo("xl/worksheets/sheet1.xml").header_offset
        second = archive.getinfo("xl/worksheets/sheet2.xml").header_offset
    head, _, directory = whole.rpartition(b"PK\x01\x02")
    return (
        head
        + b"PK\x01\x02"
        + directory.replace(struct.pack("<I", second), struct.pack("<I", first))
    )


def _encrypted_parts() -> bytes:
    content = bytearray(package(TABLE).getvalue())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def _entities() -> bytes:
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
    document = (
        f'<!DOCTYPE x [<!ENTITY e0 "ha">{entities}]><workbook xmlns="{MAIN}">&e12;</workbook>'
    )
    return package(TABLE, **{"xl__workbook.xml": document}).getvalue()


def _with_book(content: str) -> bytes:
    book = f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}">{content}</workbook>'
    return package(TABLE, **{"xl__workbook.xml": book}).getvalue()


def _ods() -> bytes:
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    return zipped({"mimetype": kind, "content.xml": "<office/>"}).getvalue()


#: Every one of these must be refused with a sentence, at the upload or by its job.
REFUSED: Final[dict[str, Callable[[], bytes]]] = {
    "cell in the last corner": lambda: _at("XFD1048576"),
    "lower-case reference": lambda: _at("xfd1048576"),
    "four letters": lambda: _at("ZZZZ9"),
    "seven letters": lambda: _at("ZZZZZZZ9"),
    "nine digits": lambda: _at("A999999999"),
    "twenty digits": lambda: _at("A99999999999999999999"),
    "row beyond the last": lambda: _at("A1048577"),
    "deep workbook part": _deep_xml,
    "giant token": _giant_token,
    "giant attribute": _giant_attribute,
    "many attributes": _many_attributes,
    "zip bomb": _zip_bomb,
    "shared string 60,000 times": lambda: _repeated_string(60_000),
    "shared string 300,000 times": lambda: _repeated_string(300_000),
    "30,000 parts": _many_parts,
    "lying size": _lying_size,
    "encrypted parts": _encrypted_parts,
    "entities": _entities,
    "password": lambda: _OLE + "EncryptedPackage".encode("utf-16-le"),
    "xls": lambda: _OLE,
    "ods": _ods,
    "csv": lambda: b"model_group,model\nA,1\n",
    "empty file": lambda: b"",
    "truncated": lambda: package(TABLE).getvalue()[:-100],
    "no sheet": lambda: package(
        TABLE, **{"xl__workbook.xml": f'<workbook xmlns="{MAIN}"/>'}
    ).getvalue(),
    "header alone": lambda: package(row(*COLUMNS)).getvalue(),
}


def _tab(rows: Iterable[Iterable[object]], prepare: Callable[[openpyxl.Workbook], None]) -> bytes:
    book = openpyxl.Workbook()
    for cells in rows:
        book.active.append(list(cells))
    prepare(book)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def _hide_a_first_tab(book: openpyxl.Workbook) -> None:
    book.create_sheet("notes", 0).append(["nothing"])
    book["notes"].sheet_state = "hidden"


def _renamed(name: Callable[[str], str], **more: str) -> bytes:
    with zipfile.ZipFile(package(TABLE, **more)) as archive:
        return zipped({name(part): archive.read(part) for part in archive.namelist()}).getvalue()


def _another_main_part() -> bytes:
    root = relations(r0=("officeDocument", "xl/workbook2.xml"))
    main = {
        "xl/workbook.xml": "xl/workbook2.xml",
        "xl/_rels/workbook.xml.rels": "xl/_rels/workbook2.xml.rels",
    }
    return _renamed(lambda part: main.get(part, part), **{"_rels__.rels": root})


def _macro_enabled() -> bytes:
    return package(TABLE, **{"xl__vbaProject.bin": b"\0" * 1000}).getvalue()


def _error(name: str) -> str:
    return f'<row><c t="e"><f>X</f><v>{name}</v></c></row>'


#: Every one of these must be read: Excel or LibreOffice opens it. The first row is `COLUMNS`.
READ: Final[dict[str, Callable[[], bytes]]] = {
    "plain": lambda: package(TABLE).getvalue(),
    "wide": lambda: package(row(*COLUMNS, *map(str, range(1_000))) + row("A") * 9).getvalue(),
    "hidden first tab": lambda: _tab([COLUMNS, "ABCDEFGHIJKL"], _hide_a_first_tab),
    "chart in front": lambda: _tab(
        [COLUMNS, "ABCDEFGHIJKL"], lambda book: book.create_chartsheet("chart", 0)
    ),
    "workbook2.xml": _another_main_part,
    "back-slashes": lambda: _renamed(lambda part: part.replace("/", "\\")),
    "upper case": lambda: _renamed(str.upper),
    "unknown error": lambda: package(TABLE + _error("#SPILL!")).getvalue(),
    "error in the header": lambda: package(
        row(*COLUMNS).replace("</row>", '<c t="e"><v>#REF!</v></c></row>') + row("A")
    ).getvalue(),
    "macros": _macro_enabled,
    "deep sheet": _deep_sheet,
    "overlapping parts": _overlapping,
    "relation to nothing": lambda: _with_book(
        '<sheets><sheet name="gone" r:id="r9"/><sheet name="Cars" r:id="r1"/></sheets>'
    ),
}


def corpus() -> Iterator[tuple[str, bytes]]:
    """Yield every file with its name."""
    for name, make in {
        **REFUSED,
        **READ,
        "giant attribute": _giant_attribute,
        "bomb": _zip_bomb,
    }.items():
        yield name, make()
