"""Reads the cells of a worksheet, each with its own type, and passes them on by column.

A column travels as an Arrow struct array: what each cell is, its number, its text. So a column may
mix types, and the columns that do not are plain arrays on arrival.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import islice
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook

from aimq.errors import UnsupportedMedia, WorkbookError
from aimq.workbook import file_type

MAX_ROWS: Final = 1_048_576
MAX_COLUMNS: Final = 16_384
#: Rows that are held as Python objects at once.
_CHUNK: Final = 5_000


class CellKind(IntEnum):
    """What a cell is. ``number`` holds 0 or 1 for TRUTH and seconds for DURATION; ``text`` holds
    ISO 8601 for DATE, MOMENT and TIME.
    """

    EMPTY = 0
    NUMBER = 1
    TRUTH = 2
    DURATION = 3
    TEXT = 4
    DATE = 5
    MOMENT = 6
    TIME = 7


_KINDS: Final[dict[type, int]] = {
    float: int(CellKind.NUMBER),
    int: int(CellKind.NUMBER),
    bool: int(CellKind.TRUTH),
    dt.timedelta: int(CellKind.DURATION),
    str: int(CellKind.TEXT),
    dt.date: int(CellKind.DATE),
    dt.datetime: int(CellKind.MOMENT),
    dt.time: int(CellKind.TIME),
}
_NUMERIC: Final = frozenset({float, int, bool, dt.timedelta})
CELL: Final = pa.struct({"kind": pa.int8(), "number": pa.float64(), "text": pa.string()})


class SheetCells:
    """The rows of a worksheet from its first cell on.

    Args:
        file: a copy as `plain_copy` makes it.

    Raises:
        UnsupportedMedia: the reader finds it damaged.
        WorkbookError: a cell is beyond column XFD or row 1,048,576.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._sheet = _load(file)
        start: tuple[int, int] = self._sheet.start or (0, 0)
        self._first_row = start[0]
        last_row, last_column = self._sheet.end or (0, 0)
        if last_row >= MAX_ROWS or last_column >= MAX_COLUMNS:
            raise WorkbookError(
                "A cell is beyond column XFD or row 1,048,576, the last ones of a worksheet. "
                "Delete the rows and columns beyond the table, save, and try again."
            )
        self.rows = self._sheet.height
        self.columns = self._sheet.width

    def __iter__(self) -> Iterator[list[Any]]:
        """Return rows of equal length; a blank cell is ``""``."""
        return islice(self._sheet.iter_rows(), self._first_row, None)


def write_columns(rows: Iterator[list[Any]], width: int, target: BinaryIO, max_text: int) -> None:
    """Write rows as an Arrow stream with one struct column for each column.

    Args:
        max_text: most bytes that all texts may take.

    Raises:
        WorkbookError: the texts take more.
    """
    schema = pa.schema([(str(place), CELL) for place in range(width)])
    text = 0
    with pa.ipc.new_stream(target, schema) as writer:
        while chunk := list(islice(rows, _CHUNK)):
            columns = [_encode(cells) for cells in zip(*chunk, strict=True)]
            text += sum(column.field("text").nbytes for column in columns)
            if text > max_text:
                raise WorkbookError(
                    "The texts of the sheet are too long: one text is repeated in many cells, or "
                    "cells hold whole documents. Shorten them or split the workbook."
                )
            writer.write_batch(pa.record_batch(columns, schema=schema))


def header_text(cell: object) -> str:
    """Return a cell of the header row as text: a whole number without a fraction."""
    if isinstance(cell, bool):
        return str(cell).lower()
    return str(cell).removesuffix(".0") if isinstance(cell, float) else str(cell)


def _load(file: BinaryIO) -> CalamineSheet:
    file.flush()
    try:
        return CalamineWorkbook.from_path(f"/dev/fd/{file.fileno()}").get_sheet_by_index(0)
    except CalamineError as exc:
        raise UnsupportedMedia(file_type.DAMAGED) from exc
    except BaseException as exc:
        # The reader's panics have a class of their own, which no module exports.
        if type(exc).__name__ != "PanicException":
            raise
        raise UnsupportedMedia(file_type.DAMAGED) from exc


def _encode(cells: Sequence[Any]) -> pa.StructArray:
    types = set(map(type, cells))
    texts = _texts(cells, types)
    kinds = np.array([_KINDS[type(cell)] for cell in cells], dtype=np.int8)
    if str in types:
        blank = pc.equal(texts, "").fill_null(False)
        kinds[blank.to_numpy(zero_copy_only=False)] = CellKind.EMPTY
        texts = pc.if_else(blank, None, texts)
    arrays = [pa.array(kinds), _numbers(cells, types), texts]
    return pa.StructArray.from_arrays(arrays, fields=list(CELL))


def _numbers(cells: Sequence[Any], types: set[type]) -> pa.Array:
    if types == {float}:
        return pa.array(cells, pa.float64())
    if types.isdisjoint(_NUMERIC):
        return pa.nulls(len(cells), pa.float64())
    return pa.array([_number(cell) for cell in cells], pa.float64())


def _texts(cells: Sequence[Any], types: set[type]) -> pa.Array:
    if types == {str}:
        return pa.array(cells, pa.string())
    if types <= _NUMERIC:
        return pa.nulls(len(cells), pa.string())
    return pa.array([_text(cell) for cell in cells], pa.string())


def _number(cell: object) -> float | None:
    if isinstance(cell, dt.timedelta):
        return cell.total_seconds()
    return float(cell) if isinstance(cell, float | int) else None


def _text(cell: object) -> str | None:
    if isinstance(cell, dt.date | dt.time):
        return cell.isoformat()
    return cell if isinstance(cell, str) else None
