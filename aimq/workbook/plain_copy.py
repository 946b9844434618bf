"""Copies one worksheet into a workbook of its own that has nothing but what the reader needs.

Drawings, tables, metadata and odd part names never reach the reader. Error cells become text, for
the reader refuses those that it does not know (``#SPILL!``).
"""

from __future__ import annotations

import re
import zipfile
from typing import BinaryIO, Final

from aimq.errors import TooLarge
from aimq.workbook.frame import SHEET, STRINGS, write_frame
from aimq.workbook.package import MIB, Package, SheetParts, damaged

#: Bytes of each part that are copied for its beginning.
_BEGINNING: Final = 2 * MIB
#: Longest text or tag, in bytes. Excel's longest text has 32,767 characters.
_MAX_TOKEN: Final = 4 * MIB
#: The type of an error cell. A ``<`` within a text is escaped, so no text can look like this.
_ERROR_CELL: Final = re.compile(rb"""(<(?:\w+:)?c\s(?:[^<>]*?\s)?t\s*=\s*["'])e(["'])""")
#: The end of a row or a shared string, and the elements that are open there.
_ITEMS: Final = {
    SHEET: (re.compile(rb"</(\w+:)?row>"), (b"sheetData", b"worksheet")),
    STRINGS: (re.compile(rb"</(\w+:)?si>"), (b"sst",)),
}


def copy_sheet(package: Package, parts: SheetParts, target: BinaryIO, max_bytes: int) -> None:
    """Write the copy, uncompressed.

    Args:
        max_bytes: most bytes of the copy, whatever sizes the zip states.

    Raises:
        UnsupportedMedia: a part is damaged or missing.
        TooLarge: the parts are larger than `max_bytes`.
    """
    with damaged(), zipfile.ZipFile(target, "w") as copy:
        write_frame(copy, "Sheet1", parts.present.values(), epoch_1904=parts.epoch_1904)
        for part, name in parts.present.items():
            with package.open(part) as source, copy.open(name, "w", force_zip64=True) as written:
                rest = b""
                while piece := source.read(MIB):
                    max_bytes -= len(piece)
                    if max_bytes < 0:
                        raise TooLarge("The workbook is too large once unpacked. Split it.")
                    whole, rest = _at_end_of_tag(rest + piece)
                    written.write(_without_error_cells(whole))
                written.write(rest)


def copy_beginning(package: Package, parts: SheetParts, target: BinaryIO) -> bool:
    """Write a copy of the first rows and texts. True if that is all there is.

    Raises:
        UnsupportedMedia: a part is damaged or missing.
    """
    whole = True
    with damaged(), zipfile.ZipFile(target, "w") as copy:
        write_frame(copy, "Sheet1", parts.present.values(), epoch_1904=parts.epoch_1904)
        for part, name in parts.present.items():
            with package.open(part) as source:
                text = source.read(_BEGINNING)
                if name in _ITEMS and source.read(1):
                    text, whole = _closed(text, name), False
            copy.writestr(name, _without_error_cells(text))
    return whole


def _at_end_of_tag(xml: bytes) -> tuple[bytes, bytes]:
    end = xml.rfind(b">") + 1
    if len(xml) - end > _MAX_TOKEN:
        raise ValueError("a text or a tag is too long")
    return xml[:end], xml[end:]


def _closed(xml: bytes, name: str) -> bytes:
    """Return what is before the end of the last row or text as a document of its own."""
    item, open_elements = _ITEMS[name]
    ends = list(item.finditer(xml))
    if not ends:
        return b"<%b/>" % open_elements[-1]
    prefix = ends[-1][1] or b""
    closing = b"".join(b"</%b%b>" % (prefix, element) for element in open_elements)
    return xml[: ends[-1].end()] + closing


def _without_error_cells(xml: bytes) -> bytes:
    return _ERROR_CELL.sub(rb"\1str\2", xml) if b'"e"' in xml or b"'e'" in xml else xml
