"""Which of a table's columns are the schema's. Needs no table library."""

from __future__ import annotations

from collections.abc import Sequence

from aimq.schema.model import Schema, fold


def match_columns(schema: Schema, names: Sequence[object]) -> tuple[dict[str, int], list[str]]:
    """Find the schema's columns among a table's, without regard to case and outer space.

    Returns:
        The position of each schema column that is there (of several alike, the first), and the
        names of those that are not there and have to be: the required ones, and of a table that has
        none of the columns every one.
    """
    places: dict[str, int] = {}
    for index, name in enumerate(names):
        places.setdefault(fold(str(name)), index)
    found = {name: places[fold(name)] for name in schema.columns if fold(name) in places}
    needed = schema.required or (() if found else schema.columns)
    return found, [name for name in needed if name not in found]
