"""Shows an inferred schema as a table, and writes it to a file to edit."""

from __future__ import annotations

from pathlib import Path

import tomli_w
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aimq.schema import Feature
from etl.described_table import DescribedTable

#: Categories and classes that a line lists.
_LISTED = 6


def show_inference(console: Console, table: DescribedTable, folder: Path | None) -> None:
    """Print what each column is and why, and write ``<name>.schema.toml``.

    A file of that name with other content is somebody's work, and is left alone.

    Args:
        folder: where the file is written; None for no file.
    """
    schema = table.schema
    shown = Table(title="Columns", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("column", "is", "and"):
        shown.add_column(heading, overflow="fold")
    shown.add_row(escape(schema.target), "target", _words(schema.task, schema.classes))
    if schema.group is not None:
        shown.add_row(escape(schema.group), "group", _words("a model each", schema.groups))
    for feature in schema.features:
        shown.add_row(escape(feature.name), str(feature.type), _details(feature))
    for name, reason in table.left_out.items():
        shown.add_row(escape(name), "left out", escape(reason))
    console.print(shown)
    for note in table.notes:
        console.print(f"Note: {note}", markup=False, soft_wrap=True)
    if folder is not None:
        console.print(_write(table, folder), markup=False, soft_wrap=True)


def _details(feature: Feature) -> str:
    details = [_words("", feature.categories)] if feature.categories else []
    details += ["other categories too"] if feature.other else []
    if feature.blank:
        details.append("may be blank" + (f", then {feature.fill}" if feature.fill else ""))
    return "; ".join(details)


def _words(before: str, words: tuple[str, ...]) -> str:
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    listed = escape(", ".join(words[:_LISTED]) + more)
    return f"{before}: {listed}" if before and listed else before or listed


def _write(table: DescribedTable, folder: Path) -> str:
    """Write the schema; returns what to say of it."""
    path = folder / f"{table.schema.name}.schema.toml"
    content = tomli_w.dumps(dict(table.schema.source)).encode()
    try:
        if path.exists() and path.read_bytes() != content:
            return f"{path} is there and differs from this schema: it is left as it is."
        path.write_bytes(content)
    except OSError as exc:
        return f"{path} cannot be written: {exc.strerror}."
    return f"Wrote {path}: edit it and train with --schema {path} to change any of this."
