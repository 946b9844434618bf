"""The zip of parts that an .xlsx is (ECMA-376): its limits, and the sheet that is read."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from aimq.errors import TooLarge, UnsupportedMedia, WorkbookError
from aimq.workbook import file_type
from aimq.workbook.frame import SHEET, STRINGS, STYLES

MIB: Final = 1 << 20
#: Largest directory of a zip that is read, in bytes: about 20,000 parts.
MAX_DIRECTORY: Final = MIB
#: Largest part that is parsed as a tree, in bytes.
_MAX_TREE: Final = 4 * MIB
#: Relationships of the parts that all sheets share.
_SHARED: Final = {"sharedStrings": STRINGS, "styles": STYLES}
#: How a damaged or hostile zip shows itself.
_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    ParseError,
    RuntimeError,
    ValueError,
    DefusedXmlException,
)


@contextmanager
def damaged() -> Iterator[None]:
    """Map what a damaged file raises to `UnsupportedMedia`."""
    try:
        yield
    except _DAMAGED as exc:
        raise UnsupportedMedia(file_type.DAMAGED) from exc


def unpacked_size(path: Path) -> int:
    """Return the bytes of all parts of a workbook once unpacked, as its directory states them.

    Raises:
        UnsupportedMedia: the file is no zip or is damaged.
    """
    with damaged(), path.open("rb") as file:
        return sum(info.file_size for info in _open(file).infolist())


@dataclass(frozen=True, slots=True)
class SheetParts:
    """The parts from which one worksheet is read.

    Attributes:
        name: of the worksheet.
        present: part of the workbook to its name in a workbook of `frame`.
        epoch_1904: true if day 0 of its dates is 1904-01-01.
    """

    name: str
    present: dict[str, str]
    epoch_1904: bool


class Package:
    """An open workbook, whose parts are found whatever the case of their names. Not thread-safe.

    Args:
        file: stays the caller's to close.
        max_unpacked: most bytes that all parts may take once unpacked.

    Raises:
        UnsupportedMedia: the file is no workbook, is protected, or is damaged.
        TooLarge: it unpacks to more than `max_unpacked`.
    """

    def __init__(self, file: BinaryIO, max_unpacked: int) -> None:
        if not file_type.is_zip(file):
            raise UnsupportedMedia(file_type.refusal(file))
        with damaged():
            self._zip = _open(file)
        self._parts = {
            info.filename.replace("\\", "/").lstrip("/").lower(): info
            for info in self._zip.infolist()
        }
        self.unpacked = sum(info.file_size for info in self._zip.infolist())
        if any(info.flag_bits & 1 for info in self._parts.values()):
            raise UnsupportedMedia(file_type.PROTECTED)
        if self.unpacked > max_unpacked:
            raise TooLarge(
                f"The workbook unpacks to {self.unpacked // MIB:,} MiB; at most "
                f"{max_unpacked // MIB:,} MiB are read. Split it into several files."
            )

    def open(self, part: str) -> IO[bytes]:
        """Open a part. Raises KeyError, and what `damaged` maps."""
        return self._zip.open(self._parts[part.lower()])

    def first_visible_sheet(self) -> SheetParts:
        """Return the parts of the first tab that is a visible worksheet.

        Raises:
            UnsupportedMedia: the zip is no workbook, or it is damaged.
            WorkbookError: no worksheet is visible.
        """
        with damaged():
            main = self._main_part()
            book, relations = self._tree(main), self._relations(main)
            shared = {
                target: _SHARED[kind]
                for kind, target in relations.values()
                if kind in _SHARED and target.lower() in self._parts
            }
            for sheet in _elements(book, "sheet"):
                kind, target = relations.get(_attribute(sheet, "id"), ("", ""))
                if kind == "worksheet" and sheet.get("state", "visible") == "visible":
                    name = sheet.get("name", "")
                    return SheetParts(name, {target: SHEET} | shared, _epoch_1904(book))
        raise WorkbookError("The workbook has no visible sheet. Unhide the one to be scored.")

    def _main_part(self) -> str:
        targets = dict(self._relations("").values()) if "_rels/.rels" in self._parts else {}
        main = targets.get("officeDocument", "xl/workbook.xml")
        known = main.lower() in self._parts and main.lower().endswith(".xml")
        if known and "spreadsheetml" in self._tree(main).tag:
            return main
        raise UnsupportedMedia(file_type.refusal_of_zip(self._parts.keys()))

    def _relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Return a part's relationships: id to (last word of the type, target part)."""
        folder, name = posixpath.split(part)
        return {
            relation.get("Id", ""): (
                relation.get("Type", "").rpartition("/")[2],
                _resolved(folder, relation.get("Target", "")),
            )
            for relation in _elements(
                self._tree(posixpath.join(folder, "_rels", f"{name}.rels")), "Relationship"
            )
        }

    def _tree(self, part: str) -> Element:
        with self.open(part) as stream:
            text = stream.read(_MAX_TREE + 1)
        if len(text) > _MAX_TREE:
            raise ValueError("a part is too large")
        tree: Element = fromstring(text, forbid_dtd=True)
        return tree


class _Bounded(io.FileIO):
    """A file of which no more than `bound` bytes are read at once, if there is a bound."""

    bound: int | None = MAX_DIRECTORY

    def read(self, size: int | None = -1) -> bytes:
        wanted = -1 if size is None else size
        if self.bound is None:
            return super().read(wanted) or b""
        data = super().read(min(wanted, self.bound + 1) if wanted >= 0 else self.bound + 1) or b""
        if len(data) > self.bound:
            raise zipfile.BadZipFile("its directory is too large")
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset < 0:
            raise zipfile.BadZipFile("a part is before the beginning of the file")
        return super().seek(offset, whence)


def _open(file: BinaryIO) -> zipfile.ZipFile:
    """Return the zip, whose directory is read whole, and the parts only as they are asked for."""
    bounded = _Bounded(file.fileno(), closefd=False)
    archive = zipfile.ZipFile(bounded)
    bounded.bound = None
    return archive


def _elements(tree: Element, name: str) -> Iterator[Element]:
    """Return the elements of a local name, in whatever namespace."""
    return (element for element in tree.iter() if element.tag.rpartition("}")[2] == name)


def _attribute(element: Element, name: str) -> str:
    """Return an attribute that has a namespace, by its local name."""
    return next((v for key, v in element.attrib.items() if key.endswith("}" + name)), "")


def _resolved(folder: str, target: str) -> str:
    whole = posixpath.join("/", folder, target.replace("\\", "/"))
    return posixpath.normpath(whole).lstrip("/")


def _epoch_1904(book: Element) -> bool:
    properties = next(_elements(book, "workbookPr"), None)
    return properties is not None and properties.get("date1904") in {"1", "true"}
