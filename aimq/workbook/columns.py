"""Checks that a header has the columns of a schema."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from aimq.errors import FieldError, WorkbookError
from aimq.schema import Schema, match_columns

#: More missing columns than this are counted, not listed.
_LISTED: Final = 20


def check_columns(header: Sequence[str], schema: Schema) -> None:
    """Raise `WorkbookError`, naming each missing column, unless the header has them all."""
    _, missing = match_columns(schema, header)
    if not missing:
        return
    needed = len(schema.required or schema.columns)
    listed = ", ".join(missing[:_LISTED])
    more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
    raise WorkbookError(
        f"The header row lacks {len(missing)} of {needed} columns: {listed}{more}. "
        "Name them in the first row of the first sheet; order and case do not matter.",
        errors=[_missing(name, header) for name in missing],
    )


def _missing(name: str, header: Sequence[str]) -> FieldError:
    near = difflib.get_close_matches(name, [cell[:60] for cell in header[:200]], n=1)
    hint = f"; the header has {near[0]!r}" if near else ""
    return FieldError(field=name, message=f"column is missing{hint}")
