"""Copies one worksheet into a workbook of its own that has nothing but what the reader needs.

Drawings, tables, metadata and odd part names never reach the reader. Error cells become text, for
the reader refuses those that it does not know (``#SPILL!``).
"""

from __future__ import annotations

import re
import zipfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, Final

from aimq.errors import TooLarge
from aimq.workbook.frame import SHEET, STRINGS, STYLES, write_frame
from aimq.workbook.package import MIB, Package, SheetParts, damaged

_PIECE: Final = MIB
#: Longest text or tag between two ends of tags, in bytes. Excel's longest text has 32,767
#: characters.
_MAX_TOKEN: Final = 4 * MIB
#: The type of an error cell. A ``<`` within a text is escaped, so no text can look like this.
_ERROR_CELL: Final = re.compile(rb"""(<(?:\w+:)?c\s(?:[^<>]*?\s)?t\s*=\s*["'])e(["'])""")


@dataclass(frozen=True, slots=True)
class Head:
    """How much of a workbook is copied when only its first rows are wanted, in bytes."""

    sheet: int = MIB
    strings: int = 4 * MIB


def copy_sheet(
    package: Package, parts: SheetParts, target: BinaryIO, max_bytes: int, head: Head | None = None
) -> bool:
    """Write the copy, uncompressed. True if it is whole, false if `head` cut it.

    Args:
        max_bytes: most bytes of the copy, whatever sizes the zip states.

    Raises:
        UnsupportedMedia: a part is damaged or missing.
        TooLarge: the parts are larger than `max_bytes`.
    """
    sheet = _Cut(head.sheet, b"row", (b"sheetData", b"worksheet")) if head else None
    strings = _Cut(head.strings, b"si", (b"sst",)) if head else None
    with damaged(), zipfile.ZipFile(target, "w") as copy:
        writer = _Writer(package, copy, max_bytes)
        whole = writer.copy(parts.sheet, SHEET, sheet)
        present = [SHEET]
        if parts.strings:
            whole &= writer.copy(parts.strings, STRINGS, strings)
            present.append(STRINGS)
        if parts.styles:
            writer.copy(parts.styles, STYLES, None)
            present.append(STYLES)
        write_frame(copy, "Sheet1", present, epoch_1904=parts.epoch_1904)
    return whole


@dataclass(frozen=True, slots=True)
class _Cut:
    """Cuts a part after `size` bytes behind the last `item`, and closes the `open_elements`."""

    size: int
    item: bytes
    open_elements: tuple[bytes, ...]

    def apply(self, text: bytes) -> bytes:
        """Return the beginning as a document of its own, an empty one if it has no whole item."""
        ends = deque(re.finditer(rb"</(\w+:)?%b>" % self.item, text), maxlen=1)
        if not ends:
            return b"<%b/>" % self.open_elements[-1]
        prefix = ends[0][1] or b""
        closing = b"".join(b"</%b%b>" % (prefix, name) for name in self.open_elements)
        return text[: ends[0].end()] + closing


class _Writer:
    def __init__(self, package: Package, copy: zipfile.ZipFile, left: int) -> None:
        self._package, self._copy, self._left = package, copy, left

    def copy(self, part: str, name: str, cut: _Cut | None) -> bool:
        """Copy a part. False if it was cut."""
        with self._package.open(part) as source:
            if cut:
                text = source.read(cut.size)
                if len(text) == cut.size and source.read(1):
                    self._copy.writestr(name, _without_error_cells(cut.apply(text)))
                    return False
                self._copy.writestr(name, _without_error_cells(text))
                return True
            with self._copy.open(name, "w", force_zip64=True) as target:
                for piece in _pieces(source):
                    self._left -= len(piece)
                    if self._left < 0:
                        raise TooLarge("The workbook is too large once unpacked. Split it.")
                    target.write(_without_error_cells(piece))
        return True


def _without_error_cells(xml: bytes) -> bytes:
    if b'"e"' in xml or b"'e'" in xml:
        return _ERROR_CELL.sub(rb"\1str\2", xml)
    return xml


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """Cut a stream of XML only where a tag ends."""
    rest = b""
    while piece := stream.read(_PIECE):
        whole = rest + piece
        end = whole.rfind(b">") + 1
        yield whole[:end]
        rest = whole[end:]
        if len(rest) > _MAX_TOKEN:
            raise ValueError("a text or a tag is too long")
    yield rest
