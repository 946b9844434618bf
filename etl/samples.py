"""The workbooks under ``assets/sample_files``: ``python -m etl.samples``.

Like the default training data, every row is synthetic. The same code gives the same files, byte for
byte: the times that a workbook carries are fixed.
"""

from __future__ import annotations

import datetime as dt
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from aimq.schema import Schema, load_schema
from etl.clean import clean
from etl.generate import generate

FOLDER: Final = Path(__file__).parent.parent / "assets" / "sample_files"
SIZES: Final = {"1_row.xlsx": 1, "100_rows.xlsx": 100, "1000_rows.xlsx": 1_000}
#: Not the seed of the training data.
_SEED: Final = 7
_MOMENT: Final = (2026, 1, 1, 0, 0, 0)
_WRITTEN: Final = re.compile(rb"(?<=W3CDTF\">)[^<]+")

Row = list[Any]

#: Fields changed in one row of ``mixed_errors.xlsx``, by what is remarkable about the row.
CHANGES: Final[dict[str, dict[str, Any]]] = {
    "nothing": {},
    "unknown category": {"color": "Octarine"},
    "case and outer space (fine)": {"fuel_type": "  dIESEL ", "gear_type": "AUTOMATIC"},
    "blank category": {"vehicle_type": None},
    "blank number": {"kilometers": None},
    "text in a number": {"kilometers": "many"},
    "negative number": {"kilometers": -5},
    "absurd number": {"kilometers": 99_999_999},
    "number as text (fine)": {"kilometers": "64000", "age_in_months": " 24 "},
    "formula-looking note (fine)": {"note": "=1+1"},
    "command-looking note (fine)": {"note": "@SUM(A1:A9)"},
    "date in a number": {"age_in_months": dt.datetime(2020, 5, 1)},  # noqa: DTZ001 - a cell has no zone
    "model of another group": {"model_group": "A", "model": 500},
    "unknown group": {"model_group": "Z"},
    "blank group": {"model_group": None},
    "fraction in a whole number": {"age_in_months": 4.5},
    "whole number as fraction (fine)": {"kilometers": 5000.0, "age_in_months": "36.0"},
    "true in a number": {"kilometers": True},
    "number in a category": {"color": 7},
    "model as text (fine)": {"model_group": "A", "model": " 180 "},
    "model as fraction (fine)": {"model_group": "A", "model": "180.0"},
    "fraction that is no model": {"model_group": "A", "model": 180.5},
    "true in a model": {"model": True},
    "spaces only": {"line": "   "},
    "thousands separator": {"kilometers": "12,500"},
    "not a number": {"age_in_months": "NaN"},
    "infinite": {"kilometers": "inf"},
    "climate None (fine)": {"climate": "None"},
    "three errors at once": {"color": "Plaid", "doors": 4, "seats": "two"},
    "other alphabets (fine)": {"note": "Größe 中文 🚗"},
}


def sample(schema: Schema, rows: int) -> pd.DataFrame:
    """Return valid records without the target: text and whole numbers, the model among these."""
    columns = clean(schema, generate(schema, rows + 200 + rows // 5, _SEED)).columns
    table: pd.DataFrame = columns.table().slice(0, rows).to_pandas()
    numbers = {"model": "int64"} | {f.name: "int64" for f in schema.features if f.numeric}
    return table.astype({**dict.fromkeys(schema.columns, object), **numbers})


def mixed_errors(schema: Schema) -> list[Row]:
    """Return header and rows of ``mixed_errors.xlsx``; its last row but one is all blank."""
    records = sample(schema, len(CHANGES)).to_dict("records")
    header = [*schema.columns, "note", "remark"]
    shown = [name.upper() if name == "color" else name for name in header]
    shown[header.index("kilometers")] = "  Kilometers "
    rows = []
    for number, (remark, change) in enumerate(CHANGES.items(), start=1):
        record: dict[Any, Any] = {
            "note": f"row {number}",
            **records[number - 1],
            **change,
            "remark": remark,
        }
        rows.append([record[name] for name in header])
    return [shown, *rows[:-1], [None] * len(header), rows[-1]]


def write_workbook(path: Path, rows: Sequence[Row]) -> None:
    """Write rows, the header first, as a workbook of one sheet; text stays text."""
    from openpyxl import Workbook  # noqa: PLC0415 - loaded only where a workbook is written

    book = Workbook()
    sheet = book.active
    sheet.title = "cars"
    for row, cells in enumerate(rows, start=1):
        for column, value in enumerate(cells, start=1):
            cell = sheet.cell(row, column, value)
            if isinstance(value, str):
                cell.data_type = "s"  # not a formula, whatever it begins with
    buffer = io.BytesIO()
    book.save(buffer)
    path.write_bytes(_timeless(buffer))


def _timeless(book: io.BytesIO) -> bytes:
    """Return a zip file with every time in it fixed."""
    out = io.BytesIO()
    with zipfile.ZipFile(book) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            entry = zipfile.ZipInfo(name, _MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            content = source.read(name)
            if name == "docProps/core.xml":
                content = _WRITTEN.sub(b"2026-01-01T00:00:00Z", content)
            target.writestr(entry, content)
    return out.getvalue()


def write_all(folder: Path = FOLDER) -> None:
    """Write the four sample files."""
    schema = load_schema(Path(__file__).parent / "schemas" / "used_cars.toml")
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in SIZES.items():
        frame = sample(schema, rows)
        write_workbook(folder / name, [list(frame.columns), *frame.to_numpy(object).tolist()])
    write_workbook(folder / "mixed_errors.xlsx", mixed_errors(schema))


if __name__ == "__main__":
    write_all()
