"""Workbooks made part by part, also such as no program would write."""

from __future__ import annotations

import io
import zipfile

from aimq.schema.model import Schema, parse_schema

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def schema() -> Schema:
    return parse_schema(
        {
            "name": "cars",
            "group": {"name": "group", "values": ["A", "B"]},
            "target": {"name": "price"},
            "features": [
                {"name": "kilometers", "type": "number", "minimum": 0, "maximum": 1e6},
                {"name": "fuel", "type": "category", "categories": ["petrol", "diesel"]},
            ],
        }
    )


def cell(text: str) -> str:
    return f'<c t="inlineStr"><is><t>{text}</t></is></c>'


def row(*texts: str) -> str:
    return f"<row>{''.join(cell(text) for text in texts)}</row>"


def sheet(rows: str) -> str:
    return f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>'


def relations(**targets: tuple[str, str]) -> str:
    inside = "".join(
        f'<Relationship Id="{name}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for name, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{PACKAGE}">{inside}</Relationships>'


def package(rows: str, strings: str | None = None, **more: str | bytes) -> io.BytesIO:
    """Return a workbook of one sheet; `more` adds or replaces parts, with ``__`` for ``/``."""
    targets = {"r1": ("worksheet", "worksheets/sheet1.xml")}
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations(r0=("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
        '<sheet name="Cars" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/worksheets/sheet1.xml": rows if rows.startswith("<!") else sheet(rows),
    }
    if strings is not None:
        targets["r2"] = ("sharedStrings", "/xl/sharedStrings.xml")
        parts["xl/sharedStrings.xml"] = f'<sst xmlns="{MAIN}">{strings}</sst>'
    parts["xl/_rels/workbook.xml.rels"] = relations(**targets)
    parts |= {name.replace("__", "/"): content for name, content in more.items()}
    return zipped(parts)


def zipped(parts: dict[str, str | bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    file.seek(0)
    return file
