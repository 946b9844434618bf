"""Reading a raw table: every cell as text, blanks as empty text, nothing interpreted yet."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import pandas as pd

from aimq.errors import Invalid, NotFound, UnsupportedMedia

WORKBOOKS: Final = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
TEXTS: Final = (".csv", ".tsv", ".txt")
_SAMPLE_BYTES: Final = 65_536


def extract(path: Path) -> pd.DataFrame:
    """Read a CSV file or a workbook's first sheet.

    A CSV file is UTF-8, separated by comma, semicolon, tab or bar. No text is taken for a missing
    value, since ``None`` may be a category: `etl.clean` knows the blanks.

    Raises:
        NotFound: there is no such file.
        UnsupportedMedia: its ending is neither a CSV file's nor a workbook's.
        Invalid: it cannot be read; says why.
    """
    if not path.is_file():
        raise NotFound(f"{path}: no such file.")
    ending = path.suffix.lower()
    if ending not in WORKBOOKS + TEXTS:
        raise UnsupportedMedia(
            f"{path}: give a table as {', '.join(TEXTS)} or {', '.join(WORKBOOKS)}."
        )
    table = _workbook(path) if ending in WORKBOOKS else _text(path)
    if table.empty:
        raise Invalid(f"{path}: has no rows below its header.")
    return table


def _workbook(path: Path) -> pd.DataFrame:
    from python_calamine import CalamineError  # noqa: PLC0415 - only where a workbook is read

    try:
        return pd.read_excel(path, engine="calamine", dtype=str, keep_default_na=False)
    except (CalamineError, ValueError) as exc:
        raise Invalid(f"{path}: is not a workbook that can be read: {exc}") from exc


def _text(path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = _separator(file.read(_SAMPLE_BYTES))
        return pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
        ).fillna("")  # of rows shorter than the header
    except UnicodeDecodeError as exc:
        raise Invalid(f"{path}: is not UTF-8 text; save it as 'CSV UTF-8'.") from exc
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, OSError) as exc:
        raise Invalid(f"{path}: cannot be read as a table: {exc}") from exc


def _separator(sample: str) -> str:
    header = sample.partition("\n")[0]
    return max(",;\t|", key=header.count)
