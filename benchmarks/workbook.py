"""Reading and writing a workbook: the candidates, side by side in one run.

Run: python -m benchmarks.workbook [--rows 100000]

Columns as in the default schema: six of numbers, seven of text; once plain, once with a column
that mixes numbers and text. "fidelity" is what a candidate makes of ten difficult cells: how many
come back with their type and value.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastexcel
import numpy as np
import openpyxl
import pandas as pd
import rustpy_xlsxwriter

from aimq.workbook import Sheet, write_workbook
from aimq.workbook.reading import read_workbook

DIFFICULT: list[Any] = [
    1, "1", "00123", True, "true", 0.1234567890123456, "#N/A", "1e5", "2020-01-01",
    dt.datetime(2020, 1, 1),  # noqa: DTZ001 # spreadsheets know no time zones
]  # fmt: skip


def table(rows: int, *, mixed: bool) -> Sheet:
    """Return a table of the usual shape."""
    random = np.random.default_rng(0)
    words = np.array(["alpha", "beta", "gamma", "delta epsilon"])
    columns: dict[int, Any] = {n: random.random(rows) * 1e6 for n in range(6)}
    columns |= {n: random.choice(words, rows) for n in range(6, 13)}
    if mixed:
        columns[13] = pd.Series([1.0 if n % 2 else "x" for n in range(rows)], dtype=object)
    frame = pd.DataFrame(columns)
    return Sheet("Data", [f"column {n}" for n in frame.columns], frame)


def ours_read(path: Path) -> Sheet:
    """Read as the batch processor does."""
    return read_workbook(path, max_rows=2_000_000, max_unpacked_mb=8192)


def openpyxl_read(path: Path) -> pd.DataFrame:
    """Read as openpyxl does, row by row."""
    sheet = openpyxl.load_workbook(path, read_only=True).worksheets[0]
    header, *rows = sheet.iter_rows(values_only=True)
    return pd.DataFrame(rows, columns=header)


def fastexcel_read(path: Path) -> pd.DataFrame:
    """Read as fastexcel does by default: one type for a column."""
    return fastexcel.read_excel(path).load_sheet(0, schema_sample_rows=None).to_pandas()


def openpyxl_write(sheet: Sheet, path: Path) -> None:
    """Write as openpyxl does, row by row."""
    workbook = openpyxl.Workbook(write_only=True)
    target = workbook.create_sheet("Data")
    target.append(sheet.headers)
    for row in sheet.frame.itertuples(index=False):
        target.append(row)
    workbook.save(path)


def rust_write(sheet: Sheet, path: Path) -> None:
    """Write a DataFrame as rustpy-xlsxwriter does."""
    rustpy_xlsxwriter.write_worksheet(sheet.frame.set_axis(sheet.headers, axis=1), str(path))


def xlsxwriter_write(sheet: Sheet, path: Path) -> None:
    """Write a DataFrame through pandas and XlsxWriter."""
    sheet.frame.set_axis(sheet.headers, axis=1).to_excel(path, index=False, engine="xlsxwriter")


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def cells_kept(read: Callable[[Path], Any], folder: Path) -> str:
    """Tell how many of the difficult cells a reader gives back as they are."""
    path = folder / "difficult.xlsx"
    workbook = openpyxl.Workbook()
    workbook.active.append(["value"])
    for value in DIFFICULT:
        workbook.active.append([value])
    workbook.save(path)
    try:
        got = read(path)
    except Exception as exc:  # noqa: BLE001 # a candidate that refuses is a result
        return type(exc).__name__
    frame = got.frame if isinstance(got, Sheet) else got
    same = sum(
        value == cell and isinstance(cell, str | bool) == isinstance(value, str | bool)
        for value, cell in zip(DIFFICULT, frame.iloc[:, 0].tolist(), strict=True)
    )
    return f"{same} of {len(DIFFICULT)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    writers: dict[str, Callable[[Sheet, Path], None]] = {
        "batch processor": write_workbook,
        "rustpy-xlsxwriter": rust_write,
        "openpyxl": openpyxl_write,
    }
    if importlib.util.find_spec("xlsxwriter"):
        writers["pandas + XlsxWriter"] = xlsxwriter_write
    readers: dict[str, Callable[[Path], Any]] = {
        "batch processor": ours_read,
        "fastexcel": fastexcel_read,
        "openpyxl": openpyxl_read,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{rows:,} rows; seconds: plain columns, with a mixed one; difficult cells kept\n")
        plain, mixed = table(rows, mixed=False), table(rows, mixed=True)
        for title, write in writers.items():
            spent = [
                seconds(lambda s=sheet, w=write: w(s, folder / "out.xlsx"))  # type: ignore[misc]
                for sheet in (plain, mixed)
            ]
            print(f"write  {title:<22}{spent[0]:>8.2f}{spent[1]:>8.2f}")
        write_workbook(plain, folder / "plain.xlsx")
        write_workbook(mixed, folder / "mixed.xlsx")
        for title, read in readers.items():
            spent = [
                seconds(lambda f=file, r=read: r(folder / f))  # type: ignore[misc]
                for file in ("plain.xlsx", "mixed.xlsx")
            ]
            kept = cells_kept(read, folder)
            print(f"read   {title:<22}{spent[0]:>8.2f}{spent[1]:>8.2f}   {kept}")


if __name__ == "__main__":
    main()
