"""The parts around the sheet of a workbook with one sheet (ECMA-376)."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from typing import Final
from xml.sax.saxutils import quoteattr

MAIN: Final = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
SHEET: Final = "xl/worksheets/sheet1.xml"
STRINGS: Final = "xl/sharedStrings.xml"
STYLES: Final = "xl/styles.xml"

_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
_CONTENT: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_RELATIONS: Final = "application/vnd.openxmlformats-package.relationships+xml"
#: Part to relationship and content type.
_KINDS: Final = {
    SHEET: ("worksheet", "worksheet"),
    STRINGS: ("sharedStrings", "sharedStrings"),
    STYLES: ("styles", "styles"),
}


def write_frame(
    archive: zipfile.ZipFile, name: str, parts: Collection[str], *, epoch_1904: bool = False
) -> None:
    """Write what makes a workbook of `parts`, which the caller writes.

    Args:
        name: of the sheet.
        parts: `SHEET` first, then `STRINGS` and `STYLES` if there are any.
    """
    archive.writestr("[Content_Types].xml", _content_types(parts))
    archive.writestr("_rels/.rels", _relations({"xl/workbook.xml": "officeDocument"}))
    targets = {part.removeprefix("xl/"): _KINDS[part][0] for part in parts}
    archive.writestr("xl/_rels/workbook.xml.rels", _relations(targets))
    archive.writestr(
        "xl/workbook.xml",
        f'<workbook xmlns="{MAIN}" xmlns:r="{_OFFICE}"><workbookPr date1904="{int(epoch_1904)}"/>'
        f'<sheets><sheet name={quoteattr(name)} sheetId="1" r:id="r1"/></sheets></workbook>',
    )


def _content_types(parts: Collection[str]) -> str:
    kinds = {"xl/workbook.xml": "sheet.main"} | {part: _KINDS[part][1] for part in parts}
    inside = "".join(
        f'<Override PartName="/{part}" ContentType="{_CONTENT}.{kind}+xml"/>'
        for part, kind in kinds.items()
    )
    return (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="xml" ContentType='
        f'"application/xml"/><Default Extension="rels" ContentType="{_RELATIONS}"/>{inside}</Types>'
    )


def _relations(targets: dict[str, str]) -> str:
    inside = "".join(
        f'<Relationship Id="r{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, (target, kind) in enumerate(targets.items(), start=1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{inside}</Relationships>'
