"""The first rows of an .xlsx, read without reading the rest.

An .xlsx is a zip of XML parts (ECMA-376, Office Open XML). The parts are unpacked and parsed as a
stream that stops as soon as the header and one data cell are seen, so that 100,000 rows cost what
ten do. Every step is bounded in bytes; document types, and with them entities, are refused.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final
from xml.parsers import expat  # document types are refused, input is bounded

KIB: Final = 1024
#: Largest directory of a zip that is read: about 20,000 parts.
MAX_DIRECTORY: Final = 1024 * KIB
#: Bytes of a part that are unpacked in search of the header.
MAX_SCANNED: Final = 8 * 1024 * KIB
_CHUNK: Final = 16 * KIB
#: Longest cell of a header row that is kept, in characters.
_MAX_TEXT: Final = 1000
_DAMAGED: Final = (
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    expat.ExpatError,
    zipfile.zlib.error,  # type: ignore[attr-defined] # zipfile's own import of zlib
)


class Damaged(Exception):
    """The file is not a readable workbook."""


class _Enough(Exception):
    """What was looked for is found."""


@dataclass(frozen=True, slots=True)
class FirstRows:
    """What the first sheet begins with.

    Attributes:
        header: texts of the first row that is not blank, in order; None when it was not reached
            within the bounds.
        has_data: another row that is not blank follows; None when not known.
    """

    header: list[str] | None
    has_data: bool | None


class Package:
    """A zip of parts, opened with bounds. Not thread-safe.

    Args:
        file: seekable; stays the caller's to close.

    Raises:
        Damaged: it is no zip, or its directory is cut off or over the bound.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._zip = zipfile.ZipFile(_Bounded(file))
        except _DAMAGED as exc:
            raise Damaged(str(exc)) from exc
        self.parts = {
            info.filename.replace("\\", "/").lstrip("/").lower(): info
            for info in self._zip.infolist()
        }

    @property
    def unpacked(self) -> int:
        """Bytes of all parts once unpacked, as the directory has it."""
        return sum(info.file_size for info in self.parts.values())

    @property
    def packed(self) -> int:
        """Bytes of all parts as they are."""
        return sum(info.compress_size for info in self.parts.values())

    @property
    def encrypted(self) -> bool:
        """Tell whether a part needs a password."""
        return any(info.flag_bits & 1 for info in self.parts.values())

    def first_rows(self) -> FirstRows:
        """Read the header of the first sheet. Raises `Damaged`."""
        try:
            return self._first_rows()
        except _DAMAGED as exc:
            raise Damaged(str(exc)) from exc

    def _first_rows(self) -> FirstRows:
        sheet, strings = self._find_parts()
        rows = _Rows()
        complete = self._scan(sheet, rows.start, rows.end, rows.text)
        if not rows.header and not complete:
            return FirstRows(None, None)
        texts = self._shared(strings, {int(c) for kind, c in rows.header if kind == "s"})
        if texts is None:
            return FirstRows(None, rows.has_data or None)
        header = [texts[int(c)] if kind == "s" else c for kind, c in rows.header]
        return FirstRows(header, rows.has_data or (False if complete else None))

    def _find_parts(self) -> tuple[str, str | None]:
        """Return the part of the first worksheet, and that of the shared strings if there is one.

        Follows the relationships: workbook, then sheets in the order of their tabs.
        """
        main = next(
            (target for kind, target in self._relations("").values() if kind == "officeDocument"),
            "xl/workbook.xml",
        )
        sheets: list[str] = []
        self._scan(main, lambda name, attrs: _collect_sheet(sheets, name, attrs))
        relations = self._relations(main)
        worksheets = [relations[rid][1] for rid in sheets if relations[rid][0] == "worksheet"]
        strings = [target for kind, target in relations.values() if kind == "sharedStrings"]
        if not worksheets:
            raise Damaged("the workbook has no sheet")
        return worksheets[0], strings[0] if strings else None

    def _relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Return a part's relationships: id to (last word of the type, target part)."""
        folder, name = posixpath.split(part)
        found: dict[str, tuple[str, str]] = {}

        def start(name: str, attrs: dict[str, str]) -> None:
            if _local(name) == "Relationship":
                target = posixpath.normpath(posixpath.join("/", folder, attrs["Target"]))
                found[attrs["Id"]] = (attrs["Type"].rpartition("/")[2], target.lstrip("/"))

        self._scan(posixpath.join(folder, "_rels", f"{name}.rels"), start)
        return found

    def _shared(self, part: str | None, wanted: set[int]) -> dict[int, str] | None:
        """Return shared strings by number; None when they lie beyond the bounds."""
        if not wanted:
            return {}
        if part is None:
            raise Damaged("the workbook has no shared strings")
        strings = _Strings(wanted)
        complete = self._scan(part, strings.start, strings.end, strings.text)
        if not wanted <= strings.found.keys():
            if complete:
                raise Damaged("a shared string is missing")
            return None
        return strings.found

    def _scan(
        self,
        part: str,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> bool:
        """Parse a part as a stream. False: the bound was reached before its end or `_Enough`."""
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = text
        parser.buffer_text = True
        left = MAX_SCANNED
        with self._zip.open(self.parts[part.lower()]) as stream:
            try:
                while chunk := stream.read(min(_CHUNK, left)):
                    parser.Parse(chunk, False)
                    left -= len(chunk)
                if left:
                    parser.Parse(b"", True)
            except _Enough:
                return True
        return left > 0


class _Bounded(io.RawIOBase):
    """A file of which no more than a directory's bound is read at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int | None = -1) -> bytes:
        bound = MAX_DIRECTORY + 1
        data = self._file.read(bound if size is None or size < 0 else min(size, bound))
        if len(data) == bound:
            raise zipfile.BadZipFile("its directory is too large")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


class _Rows:
    """Collects the cells of the header row and stops at the next cell that is not blank."""

    def __init__(self) -> None:
        self.header: list[tuple[str, str]] = []
        self.has_data = False
        self._in_header = True
        self._kind = ""
        self._cell = ""
        self._reading = False

    def start(self, name: str, attrs: dict[str, str]) -> None:
        match _local(name):
            case "c":
                self._kind, self._cell = attrs.get("t", "n"), ""
            case "v" | "t":
                self._reading = True
            case "rPh":
                self._kind = "phonetic"

    def text(self, data: str) -> None:
        if self._reading and len(self._cell) < _MAX_TEXT:
            self._cell += data

    def end(self, name: str) -> None:
        match _local(name):
            case "v" | "t":
                self._reading = False
            case "c" if self._cell.strip():
                if not self._in_header:
                    self.has_data = True
                    raise _Enough
                self.header.append((self._kind, self._cell))
            case "row" if self.header:
                self._in_header = False
            case "sheetData":
                raise _Enough


class _Strings:
    """Collects the wanted ones of the shared strings and stops after the last of them."""

    def __init__(self, wanted: set[int]) -> None:
        self.found: dict[int, str] = {}
        self._wanted = wanted
        self._last = max(wanted)
        self._number = -1
        self._reading = False
        self._phonetic = False
        self._pieces: list[str] = []

    def start(self, name: str, _attrs: dict[str, str]) -> None:
        match _local(name):
            case "si":
                self._number += 1
                self._pieces = []
            case "t":
                self._reading = not self._phonetic and self._number in self._wanted
            case "rPh":
                self._phonetic = True

    def text(self, data: str) -> None:
        if self._reading:
            self._pieces.append(data[:_MAX_TEXT])

    def end(self, name: str) -> None:
        match _local(name):
            case "t":
                self._reading = False
            case "rPh":
                self._phonetic = False
            case "si" if self._number in self._wanted:
                self.found[self._number] = "".join(self._pieces)[:_MAX_TEXT]
                if self._number >= self._last:
                    raise _Enough


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _collect_sheet(sheets: list[str], name: str, attrs: dict[str, str]) -> None:
    if _local(name) == "sheet":
        sheets.extend(value for key, value in attrs.items() if key.endswith(":id"))


def _refuse_doctype(*_: object) -> None:
    raise ValueError("a document type is not expected in a workbook")
