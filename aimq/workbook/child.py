"""The process that parses workbooks for `aimq.workbook.parser`: ``python -m aimq.workbook.child``.

Its standard input is a Unix socket. A request is JSON with two open files, the workbook and where
its cells go; the answer is a line of JSON. It ends when its parent closes the socket, at the latest
when the time limit of the file under way is over.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import traceback
from itertools import chain
from typing import Any, BinaryIO, Final

from aimq.errors import (
    AimqError,
    FilesUnavailable,
    InternalError,
    UnsupportedMedia,
    WorkbookError,
)
from aimq.workbook import limits
from aimq.workbook.cells import SheetCells, header_text, write_columns
from aimq.workbook.package import Package, SheetParts
from aimq.workbook.parser import TOO_MUCH
from aimq.workbook.plain_copy import copy_beginning, copy_sheet

_MAX_REQUEST: Final = 4096
#: Longest header cell that is passed on, in characters.
_MAX_HEADER: Final = 40_000


def main() -> None:
    """Answer requests until the parent closes the socket."""
    for number in (signal.SIGINT, signal.SIGTERM):  # these go to the whole group; the parent acts
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=0) as parent:
        while True:
            line, descriptors, _, _ = socket.recv_fds(parent, _MAX_REQUEST, 2)
            if not line:
                return
            with os.fdopen(descriptors[0], "rb") as file, os.fdopen(descriptors[1], "wb") as target:
                answer = _answer(json.loads(line), file, target)
            limits.limit(limits.HEADER_MEMORY, seconds=0)
            parent.sendall(json.dumps(answer | {"worn": limits.worn()}).encode() + b"\n")


def _answer(request: dict[str, Any], file: BinaryIO, target: BinaryIO) -> dict[str, Any]:
    try:
        file.seek(0)
        if request["max_rows"] is None:
            return {"header": _header(file, request["max_unpacked"])}
        return _read(file, target, **request)
    except AimqError as exc:
        return {"error": type(exc).__name__, "detail": exc.detail}
    except MemoryError:
        return {"error": WorkbookError.__name__, "detail": TOO_MUCH}
    except OSError as exc:
        detail = f"The workbook cannot be copied: {exc.strerror}."
        return {"error": FilesUnavailable.__name__, "detail": detail}
    except Exception:  # noqa: BLE001 # the parent logs it
        return {"error": InternalError.__name__, "detail": traceback.format_exc()}


def _header(file: BinaryIO, max_unpacked: int) -> list[str] | None:
    """Return the header row, None if it is not near the beginning."""
    limits.limit(limits.HEADER_MEMORY, limits.HEADER_SECONDS)
    package = Package(file, max_unpacked)
    parts = package.first_visible_sheet()
    with tempfile.TemporaryFile() as copy:
        whole = copy_beginning(package, parts, copy)
        try:
            rows = (row for row in SheetCells(copy) if any(str(cell).strip() for cell in row))
        except UnsupportedMedia:
            if whole:
                raise
            return None
        header, first = next(rows, None), next(rows, None)
    if whole:
        _require_rows(parts, header, first)
    return [header_text(cell)[:_MAX_HEADER] for cell in header] if header else None


def _read(file: BinaryIO, target: BinaryIO, max_rows: int, max_unpacked: int) -> dict[str, Any]:
    """Write the cells to `target`; return the names of the sheet and of its columns."""
    limits.limit_reading(0, max_unpacked)
    package = Package(file, max_unpacked)
    limits.limit_reading(package.unpacked, max_unpacked)
    parts = package.first_visible_sheet()
    with tempfile.TemporaryFile() as copy:
        copy_sheet(package, parts, copy, max_unpacked)
        sheet = SheetCells(copy)
    rows = iter(sheet)
    header, first = next(rows, []), next(rows, [])
    _require_rows(parts, header, first)
    if sheet.rows - 1 > max_rows:
        raise WorkbookError(
            f"{_named(parts)} has {sheet.rows - 1:,} rows; at most {max_rows:,} are scored at "
            "once. Split it into several workbooks."
        )
    write_columns(chain([first], rows), sheet.columns, target, limits.max_text(package.unpacked))
    return {"name": parts.name, "header": [header_text(cell)[:_MAX_HEADER] for cell in header]}


def _require_rows(parts: SheetParts, header: list[Any] | None, first: list[Any] | None) -> None:
    if not header:
        raise WorkbookError(f"{_named(parts)} is empty: it needs a header row and data rows.")
    if not first:
        raise WorkbookError(
            f"{_named(parts)} has only a header: add a row for each record, or move the sheet with "
            "the records to the front."
        )


def _named(parts: SheetParts) -> str:
    return f"Sheet {parts.name[:40]!r}, the first visible one,"


if __name__ == "__main__":
    main()
