"""Writes a table as an .xlsx in one pass: text is never a formula, each cell keeps its type.

The cells are formatted a column at a time and go to the zip a few thousand rows at a time, so the
file is never in memory as a whole.
"""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import numpy as np
import pandas as pd
from openpyxl.utils import get_column_letter
from openpyxl.utils.datetime import to_excel

from aimq.workbook.frame import MAIN, SHEET, STYLES, write_frame
from aimq.workbook.sheet import Sheet

#: Excel's limits, in UTF-16 code units.
MAX_TEXT: Final = 32_767
MAX_NAME: Final = 31
_NOT_IN_NAMES: Final = re.compile(r"[\[\]:*?/\\\x00-\x1f]")
#: What XML cannot hold, or Excel would take for something else, and so is written as ``_x000D_``.
_SPECIAL: Final = re.compile(
    "[&<>\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)"
)
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

#: Excel's calendar begins here.
_FIRST_YEAR: Final = 1900
#: Style to the cells that have it, the more special first, and their number format. Style 0 is a
#: cell without one.
_STYLES: Final[dict[int, tuple[type, str]]] = {
    1: (dt.datetime, "yyyy-mm-dd hh:mm:ss"),
    2: (dt.date, "yyyy-mm-dd"),
    3: (dt.time, "hh:mm:ss"),
    4: (dt.timedelta, "[h]:mm:ss"),
}
#: Number formats below are Excel's own.
_FIRST_ID: Final = 164

#: Of zlib. The next ones take up to three times as long to save a fifth.
_LEVEL: Final = 2
_CHUNK: Final = 5_000


def write_workbook(sheet: Sheet, target: Path | BinaryIO) -> list[str]:
    """Write the sheet as a workbook with one sheet to a path, replacing what is there, or a stream.

    Returns:
        A sentence for each thing that was changed to fit the format: a name of a sheet that Excel
        refuses, texts over `MAX_TEXT`.
    """
    name = fitting_name(sheet.name)
    notes = [] if name == sheet.name else [f"The sheet {sheet.name!r} is named {name!r}."]
    texts = _Texts()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        write_frame(archive, name, (SHEET, STYLES))
        archive.writestr(STYLES, _styles())
        with archive.open(SHEET, "w", force_zip64=True) as part:
            _write_rows(part, sheet, texts)
    if texts.cut:
        notes.append(f"{texts.cut:,} texts are cut to {MAX_TEXT:,} characters.")
    return notes


def fitting_name(name: str) -> str:
    """Return a name that Excel takes for a sheet."""
    name = _cut(_NOT_IN_NAMES.sub("_", name), MAX_NAME).strip("'").strip()
    return "Sheet1" if not name or name.lower() == "history" else name


def _cut(text: str, size: int) -> str:
    return text.encode("utf-16-le", "surrogatepass")[: 2 * size].decode("utf-16-le", "ignore")


def _write_rows(part: IO[bytes], sheet: Sheet, texts: _Texts) -> None:
    columns = [get_column_letter(place + 1) for place in range(len(sheet.headers))]
    corner = f"{columns[-1]}{len(sheet.frame) + 1}"  # blank cells at the edges are not written
    part.write(f'<worksheet xmlns="{MAIN}"><dimension ref="A1:{corner}"/><sheetData>'.encode())
    titles = zip(columns, sheet.headers, strict=True)
    header = "".join(_text(column, 1, texts.xml(title)) for column, title in titles if title)
    part.write(f'<row r="1">{header}</row>'.encode())
    for start in range(0, len(sheet.frame), _CHUNK):
        chunk = sheet.frame.iloc[start : start + _CHUNK]
        first = start + 2
        cells = [
            _column(column, first, chunk.iloc[:, place], texts)
            for place, column in enumerate(columns)
        ]
        rows = enumerate(zip(*cells, strict=True), start=first)
        part.write("".join(f'<row r="{row}">{"".join(of)}</row>' for row, of in rows).encode())
    part.write(b"</sheetData></worksheet>")


def _column(column: str, first: int, series: pd.Series[Any], texts: _Texts) -> Iterable[str]:
    """Return the XML of the cells of a column, "" for an empty one."""
    missing = series.isna().tolist()
    if series.dtype == "float64":
        missing = (~np.isfinite(series)).tolist()
    cells = enumerate(zip(series.tolist(), missing, strict=True), start=first)
    if series.dtype == "float64":
        return ["" if no else _number(column, row, cell) for row, (cell, no) in cells]
    if series.dtype == "str":
        return ["" if no else _text(column, row, texts.xml(cell)) for row, (cell, no) in cells]
    return ["" if no else _any(column, row, cell, texts) for row, (cell, no) in cells]


def _any(column: str, row: int, cell: object, texts: _Texts) -> str:
    if isinstance(cell, str):
        return _text(column, row, texts.xml(cell))
    if isinstance(cell, bool):
        return f'<c r="{column}{row}" t="b"><v>{cell:d}</v></c>'
    if isinstance(cell, int | float):
        return _number(column, row, float(cell))
    if isinstance(cell, dt.date) and cell.year < _FIRST_YEAR:
        return _text(column, row, texts.xml(str(cell)))
    style = next(number for number, (kind, _) in _STYLES.items() if isinstance(cell, kind))
    return f'<c r="{column}{row}" s="{style}"><v>{_plain(float(to_excel(cell)))}</v></c>'


def _text(column: str, row: int, xml: str) -> str:
    return f'<c r="{column}{row}" t="inlineStr"><is><t xml:space="preserve">{xml}</t></is></c>'


def _number(column: str, row: int, number: float) -> str:
    return f'<c r="{column}{row}"><v>{_plain(number)}</v></c>'


def _plain(number: float) -> str:
    """Return a number with all its digits; a whole one as an integer, as other readers expect."""
    return repr(number).removesuffix(".0")


class _Texts:
    """Texts as XML. Keeps what it made of the last few thousand different ones."""

    def __init__(self) -> None:
        self.cut = 0
        self._made: dict[str, str] = {}

    def xml(self, text: str) -> str:
        made = self._made.get(text)
        if made is None:
            if len(self._made) >= _CHUNK:
                self._made.clear()
            made = self._made[text] = self._make(text)
        return made

    def _make(self, text: str) -> str:
        if 2 * len(text) > MAX_TEXT:
            short = _cut(text, MAX_TEXT)
            self.cut += short != text
            text = short
        return _SPECIAL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return _ENTITIES.get(match[0]) or f"_x{ord(match[0]):04X}_"


def _styles() -> str:
    """Return the part that numbers the formats. The fonts, fills and borders must be there."""
    formats = "".join(
        f'<numFmt numFmtId="{_FIRST_ID + style}" formatCode="{code}"/>'
        for style, (_, code) in _STYLES.items()
    )
    cells = "".join(
        f'<xf numFmtId="{_FIRST_ID + style}" applyNumberFormat="1"/>' for style in _STYLES
    )
    return (
        f'<styleSheet xmlns="{MAIN}"><numFmts count="{len(_STYLES)}">{formats}</numFmts>'
        '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
        '<fills count="2"><fill><patternFill patternType="none"/></fill>'
        '<fill><patternFill patternType="gray125"/></fill></fills>'
        '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>'
        f'<cellXfs count="{len(_STYLES) + 1}"><xf/>{cells}</cellXfs><cellStyles count="1">'
        '<cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
    )
