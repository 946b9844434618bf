"""Tables of the studies: Markdown for people, in the documents that quote them; CSV for tools."""

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


def put(document: Path, block: str, text: str) -> None:
    """Print text, and put it into a document between the marks of a block, if it has them.

    The marks are ``<!-- block -->`` and ``<!-- /block -->``, each on a line of its own.
    """
    print(text, "\n", flush=True)
    if not document.exists():
        return
    begin, end = f"<!-- {block} -->\n", f"<!-- /{block} -->"
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if found and closed:
        document.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", encoding="utf-8")


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
