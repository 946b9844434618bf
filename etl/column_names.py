"""Names of a raw table's columns: each must have one, and one of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from aimq.errors import Invalid
from aimq.schema.model import fold


def named(
    path: Path, header: Sequence[str], table: pd.DataFrame, *, letters: bool = False
) -> pd.DataFrame:
    """Return a table under the names of its header, without columns that hold nothing at all.

    Args:
        header: cells of the header, as many as the table has columns.
        letters: say where a column is by its letter, as in a sheet, else by its number.

    Raises:
        Invalid: a column with cells has no name, as below merged header cells, or two have one
            name; says where and what to do.
    """
    names = ["" if pd.isna(name) else str(name).strip() for name in header]
    places: dict[str, int] = {}
    kept = [
        place
        for place, name in enumerate(names)
        if name or (place < table.shape[1] and (table.iloc[:, place].str.strip() != "").any())
    ]
    for place in kept:
        where = column_letter(place) if letters else str(place + 1)
        if not names[place]:
            merged = "unmerge merged header cells, and " if letters else ""
            raise Invalid(
                f"{path}: column {where} has no name. The first row must hold a name for each "
                f"column: {merged}name the column or delete it."
            )
        first = places.setdefault(fold(names[place]), place)
        if first != place:
            other = column_letter(first) if letters else str(first + 1)
            raise Invalid(
                f"{path}: columns {other} and {where} are both called {names[place]!r}: rename or "
                "delete one of them."
            )
    return table.iloc[:, kept].set_axis([names[place] for place in kept], axis=1)


def column_letter(place: int) -> str:
    """Return the letters of a sheet's column: 0 is A, 26 is AA."""
    before, rest = divmod(place, 26)
    return (column_letter(before - 1) if before else "") + chr(ord("A") + rest)
