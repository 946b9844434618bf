"""Tables of the studies: Markdown for people, CSV for their tools."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

Rows = Sequence[Mapping[str, object]]


def markdown(rows: Rows) -> str:
    """Return rows as a Markdown table; numbers are aligned to the right."""
    names = list(rows[0])
    rules = ["---:" if isinstance(rows[0][name], int | float) else "---" for name in names]
    lines = [names, rules, *([_text(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_csv(path: Path, rows: Rows) -> None:
    """Write rows to a file, with their names in the first line."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
