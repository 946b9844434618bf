"""Writes a table as an .xlsx in one pass: text is never a formula, each cell keeps its type.

The cells are formatted a column at a time and go to the zip a few thousand rows at a time, so the
file is never in memory as a whole.
"""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
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
_STRING: Final = pa.large_string()
#: Whole numbers below are written without an exponent.
_MOST_WHOLE: Final = 1e16


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
    header = "".join(
        f'<c r="{column}1{_text(texts.xml(title))}' for column, title in titles if title
    )
    part.write(f'<row r="1">{header}</row>'.encode())
    for start in range(0, len(sheet.frame), _CHUNK):
        part.write(_rows(columns, start + 2, sheet.frame.iloc[start : start + _CHUNK], texts))
    part.write(b"</sheetData></worksheet>")


def _rows(columns: list[str], first: int, frame: pd.DataFrame, texts: _Texts) -> pa.Buffer:
    """Return the XML of rows, joined by Arrow: cell by cell in Python takes twice as long."""
    numbers = pc.cast(pa.array(range(first, first + len(frame))), _STRING)
    cells = [
        _joined(f'<c r="{column}', numbers, _cells(frame.iloc[:, place], texts))
        for place, column in enumerate(columns)
    ]
    rows = _joined('<row r="', numbers, '">', *cells, "</row>", nulls="skip")
    return rows.buffers()[2].slice(0, pc.sum(pc.binary_length(rows)).as_py())


def _joined(*parts: str | pa.Array, nulls: str = "emit_null") -> pa.Array:
    """Join strings element by element. A null makes the whole null, or is skipped."""
    strings = [pa.scalar(part, _STRING) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*strings, pa.scalar("", _STRING), null_handling=nulls)


def _cells(series: pd.Series[Any], texts: _Texts) -> pa.Array:
    """Return the XML of a column's cells from the quote after their reference; null for a blank."""
    if series.dtype == "float64":
        return _joined('"><v>', _digits(series.to_numpy()), "</v></c>")
    if series.dtype == "str":
        codes, distinct = pd.factorize(series)
        made = pa.array([_text(texts.xml(text)) for text in distinct], _STRING)
        return made.take(pa.array(codes, mask=codes < 0))
    cells = zip(series.tolist(), series.isna().tolist(), strict=True)
    return pa.array([None if blank else _any(cell, texts) for cell, blank in cells], _STRING)


def _digits(numbers: NDArray[np.float64]) -> pa.Array:
    """Do as `_plain` for a column; null for what is no finite number."""
    whole = (np.abs(numbers) < _MOST_WHOLE) & (numbers == np.floor(numbers))
    integers = pa.array(np.where(whole, numbers, 0).astype(np.int64))
    others = pa.array(numbers, mask=~np.isfinite(numbers))
    return pc.if_else(pa.array(whole), pc.cast(integers, _STRING), pc.cast(others, _STRING))


def _any(cell: object, texts: _Texts) -> str:
    if isinstance(cell, str):
        return _text(texts.xml(cell))
    if isinstance(cell, bool):
        return f'" t="b"><v>{cell:d}</v></c>'
    if isinstance(cell, int | float):
        return f'"><v>{_plain(float(cell))}</v></c>'
    if isinstance(cell, dt.date) and cell.year < _FIRST_YEAR:
        return _text(texts.xml(str(cell)))
    style = next(number for number, (kind, _) in _STYLES.items() if isinstance(cell, kind))
    return f'" s="{style}"><v>{_plain(float(to_excel(cell)))}</v></c>'


def _text(xml: str) -> str:
    return f'" t="inlineStr"><is><t xml:space="preserve">{xml}</t></is></c>'


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
