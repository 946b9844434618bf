"""Reading and writing a workbook: the candidates, side by side in one run.

Run: python -m benchmarks.workbook [--rows 100000]

Columns as in the default schema: six of numbers, seven of text; once plain, once with a column
that mixes numbers, text and dates. "kept" is how many of a dozen difficult cells come back with
their type and value. Candidates that are not installed are left out: ``pip install fastexcel
rustpy-xlsxwriter XlsxWriter pyexcelerate``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import python_calamine

from aimq.workbook.reader import WorkbookReader
from aimq.workbook.sheet import Sheet
from aimq.workbook.writing import write_workbook

NOON = dt.datetime(2020, 1, 1, 12)  # noqa: DTZ001 # spreadsheets know no time zones
DIFFICULT: list[Any] = [
    1, 2.5, "1", "00123", True, "true", 0.1234567890123456, "#N/A", "1e5", "2020-01-01", "=1+1",
    NOON,
]  # fmt: skip

Read = Callable[[Path], pd.DataFrame | Sequence[Sequence[Any]]]
Write = Callable[[Sheet, Path], object]


def table(rows: int, *, mixed: bool) -> Sheet:
    """Return a table of the usual shape."""
    random = np.random.default_rng(0)
    words = np.array(["alpha", "beta", "gamma", "delta epsilon"])
    columns: dict[int, Any] = {n: random.integers(0, 1e6, rows).astype(float) for n in range(3)}
    columns |= {n: random.random(rows) * 1e6 for n in range(3, 6)}
    columns |= {n: pd.Series(random.choice(words, rows), dtype="str") for n in range(6, 13)}
    if mixed:
        columns[13] = pd.Series([(1.0, "x", NOON)[n % 3] for n in range(rows)], dtype=object)
    frame = pd.DataFrame(columns)
    return Sheet("Data", [f"column {n}" for n in frame.columns], frame)


def openpyxl_read(path: Path) -> list[tuple[Any, ...]]:
    """Read row by row."""
    sheet = openpyxl.load_workbook(path, read_only=True).worksheets[0]
    return list(sheet.iter_rows(values_only=True))[1:]


def calamine_read(path: Path) -> list[list[Any]]:
    """Read rows of Python objects."""
    return python_calamine.CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()[1:]


def fastexcel_read(path: Path) -> pd.DataFrame:
    """Read columns of one type each."""
    import fastexcel  # noqa: PLC0415 # a candidate that need not be there

    frame: pd.DataFrame = (
        fastexcel.read_excel(path).load_sheet(0, schema_sample_rows=None).to_pandas()
    )
    return frame


def openpyxl_write(sheet: Sheet, path: Path) -> None:
    """Write row by row."""
    workbook = openpyxl.Workbook(write_only=True)
    target = workbook.create_sheet("Data")
    target.append(sheet.headers)
    for row in sheet.frame.itertuples(index=False):
        target.append(row)
    workbook.save(path)


def rustpy_write(sheet: Sheet, path: Path) -> None:
    """Write a DataFrame through Arrow."""
    import rustpy_xlsxwriter  # noqa: PLC0415 # a candidate that need not be there

    frame = sheet.frame.set_axis(sheet.headers, axis=1)
    mixed = any(kind.kind == "O" and kind.name == "object" for kind in frame.dtypes)
    rustpy_xlsxwriter.write_worksheet(frame.to_dict("records") if mixed else frame, str(path))


def xlsxwriter_write(sheet: Sheet, path: Path) -> None:
    """Write row by row, with little memory."""
    import xlsxwriter  # noqa: PLC0415 # a candidate that need not be there

    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(path, options) as workbook:
        target = workbook.add_worksheet("Data")
        date = workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        target.write_row(0, 0, sheet.headers)
        for number, row in enumerate(sheet.frame.itertuples(index=False), start=1):
            for place, cell in enumerate(row):
                target.write(number, place, cell, date if isinstance(cell, dt.datetime) else None)


def pyexcelerate_write(sheet: Sheet, path: Path) -> None:
    """Write a list of rows."""
    import pyexcelerate  # noqa: PLC0415 # a candidate that need not be there

    workbook = pyexcelerate.Workbook()
    rows = [sheet.headers, *map(list, sheet.frame.itertuples(index=False))]
    workbook.new_sheet("Data", data=rows)
    workbook.save(path)


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def read_kept(read: Read, folder: Path) -> str:
    """Return how many of the difficult cells a reader gives back as they are."""
    path = folder / "difficult.xlsx"
    workbook = openpyxl.Workbook()
    workbook.active.append(["value"])
    for row, value in enumerate(DIFFICULT, start=2):
        cell = workbook.active.cell(row, 1, value)
        if isinstance(value, str) and not value.startswith("#"):
            cell.data_type = "s"
    workbook.save(path)
    try:
        return _kept(pd.DataFrame(read(path)).iloc[:, 0].astype(object).tolist())
    except Exception as exc:  # noqa: BLE001 # a candidate that refuses is a result
        return type(exc).__name__


def written_kept(write: Write, folder: Path) -> str:
    """Return how many of the difficult cells a writer leaves as they are."""
    path = folder / "difficult.xlsx"
    frame = pd.DataFrame({0: pd.Series(DIFFICULT, dtype=object)})
    try:
        write(Sheet("Data", ["value"], frame), path)
        return _kept([cell.value for cell in openpyxl.load_workbook(path).active["A"][1:]])
    except Exception as exc:  # noqa: BLE001 # a candidate that refuses is a result
        return type(exc).__name__


def _kept(cells: list[Any]) -> str:
    same = sum(
        value == cell and isinstance(cell, str | bool) == isinstance(value, str | bool)
        for value, cell in zip(DIFFICULT, cells, strict=False)
    )
    return f"{same} of {len(DIFFICULT)}"


def show(title: str, spent: list[float], kept: str) -> None:
    """Print a line."""
    print(f"{title:<26}{spent[0]:>8.2f}{spent[1]:>8.2f}   {kept}")


def _installed(candidates: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    return {
        title: call
        for title, (module, call) in candidates.items()
        if importlib.util.find_spec(module)
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    reader = WorkbookReader(8192)
    writers: dict[str, Write] = _installed(
        {
            "aimq.workbook": ("aimq", write_workbook),
            "rustpy-xlsxwriter": ("rustpy_xlsxwriter", rustpy_write),
            "XlsxWriter": ("xlsxwriter", xlsxwriter_write),
            "pyexcelerate": ("pyexcelerate", pyexcelerate_write),
            "openpyxl": ("openpyxl", openpyxl_write),
        }
    )
    readers: dict[str, Read] = _installed(
        {
            "aimq.workbook": ("aimq", lambda path: reader.read(path, 2_000_000).frame),
            "python-calamine": ("python_calamine", calamine_read),
            "fastexcel": ("fastexcel", fastexcel_read),
            "openpyxl": ("openpyxl", openpyxl_read),
        }
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{rows:,} rows; seconds: plain columns, with a mixed one; difficult cells kept\n")
        sheets = {"plain": table(rows, mixed=False), "mixed": table(rows, mixed=True)}
        for title, write in writers.items():
            spent = [
                seconds(partial(write, sheet, folder / "out.xlsx")) for sheet in sheets.values()
            ]
            show(f"write  {title}", spent, written_kept(write, folder))
        files = [folder / f"{kind}.xlsx" for kind in sheets]
        for file, sheet in zip(files, sheets.values(), strict=True):
            write_workbook(sheet, file)
        for title, read in readers.items():
            read(files[0])  # starts what it needs
            show(
                f"read   {title}",
                [seconds(partial(read, f)) for f in files],
                read_kept(read, folder),
            )
    reader.close()


if __name__ == "__main__":
    main()
