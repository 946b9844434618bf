"""Reading a raw table: every cell as text, blanks as empty text, nothing interpreted yet."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Final

import pandas as pd

from aimq import csv_format
from aimq.errors import Invalid, NotFound, UnsupportedMedia
from etl.column_names import named

WORKBOOKS: Final = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
TEXTS: Final = (".csv", ".tsv", ".txt")
PARQUET: Final = (".parquet",)
_SAMPLE_BYTES: Final = 65_536


def extract(path: Path) -> pd.DataFrame:
    """Read a CSV file, a workbook's first sheet, or a Parquet file.

    A CSV file is UTF-8, separated by comma, semicolon, tab or bar. No text is taken for a missing
    value, since ``None`` may be a category: `etl.clean` knows the blanks. Dates are ISO 8601.

    Raises:
        NotFound: there is no such file.
        UnsupportedMedia: its ending is none of these files'.
        Invalid: it cannot be read, or its columns have no names of their own; says why.
    """
    if not path.is_file():
        raise NotFound(f"{path}: no such file.")
    ending = path.suffix.lower()
    if ending in WORKBOOKS:
        table = _workbook(path)
    elif ending in TEXTS:
        table = _text(path)
    elif ending in PARQUET:
        table = _parquet(path)
    else:
        endings = ", ".join(TEXTS + WORKBOOKS + PARQUET)
        raise UnsupportedMedia(f"{path}: give a table as one of {endings}.")
    if table.empty:
        raise Invalid(f"{path}: has no rows below its header.")
    return table


def _workbook(path: Path) -> pd.DataFrame:
    from python_calamine import CalamineError  # noqa: PLC0415 - only where a workbook is read

    try:
        cells = pd.read_excel(
            path, engine="calamine", dtype=str, keep_default_na=False, header=None
        )
    except (CalamineError, ValueError) as exc:
        raise Invalid(f"{path}: is not a workbook that can be read: {exc}") from exc
    except BaseException as exc:
        # The reader's panics have a class of their own, which no module exports.
        if type(exc).__name__ != "PanicException":
            raise
        raise Invalid(f"{path}: is damaged; save it again as .xlsx, or as CSV UTF-8.") from exc
    if cells.empty:
        raise Invalid(f"{path}: has no rows below its header.")
    header = cells.iloc[0].tolist()
    return named(path, header, cells.iloc[1:].reset_index(drop=True), letters=True)


def _text(path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = csv_format.separator(file.read(_SAMPLE_BYTES))
            file.seek(0)
            header = next(filter(None, csv.reader(file, delimiter=separator)), [])
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # cells would be lost
            table = pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                index_col=False,
            ).fillna("")  # of rows shorter than the header
    except UnicodeDecodeError as exc:
        raise Invalid(f"{path}: is not UTF-8 text; save it as 'CSV UTF-8'.") from exc
    except pd.errors.ParserWarning as exc:
        raise Invalid(f"{path}: its rows have more cells than its header has names.") from exc
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error, OSError) as exc:
        raise Invalid(f"{path}: cannot be read as a table: {exc}") from exc
    return named(path, header, table)


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa  # noqa: PLC0415 - only where such a file is read
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as exc:
        raise Invalid(f"{path}: is not a Parquet file that can be read: {exc}") from exc
    cells = {}
    for place, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        try:
            texts = column.cast(pa.string()).to_pandas()
        except (pa.ArrowException, UnicodeDecodeError) as exc:
            raise Invalid(
                f"{path}: column {name!r} holds {column.type}, which is no text, number or date: "
                "leave it out of the file."
            ) from exc
        numbers = pa.types.is_floating(column.type)
        cells[place] = texts.fillna("").mask(texts == "nan", "") if numbers else texts.fillna("")
    return named(path, table.column_names, pd.DataFrame(cells, dtype=str))
