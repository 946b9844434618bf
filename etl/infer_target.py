"""What is to be predicted, inferred from the target's column: a number, or one of a few classes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from aimq.errors import Invalid
from aimq.schema.model import FeatureType, Task, category_number, fold
from etl.raw_column import RawColumn
from etl.readable import check_readable

#: Fewest rows with a target.
ROWS: Final = 50
#: Fewest rows of a class; those of a rarer one are dropped.
CLASS_ROWS: Final = 10
#: Most different whole numbers that are classes, and most classes of any kind.
FEW: Final = 10
CLASSES: Final = 100


def infer_target(column: RawColumn, task: Task | None, notes: list[str]) -> dict[str, Any]:
    """Return the target's table of the schema, and add to the notes what a person should know.

    Args:
        task: None to choose: classes for text, booleans, and at most `FEW` whole numbers that each
            have many rows.

    Raises:
        Invalid: the column cannot be predicted, or not as this task; says why and what to do.
    """
    notes += check_readable(column)
    _check(column)
    chosen = task or (Task.CLASSIFICATION if _few(column) else Task.REGRESSION)
    table = {
        "name": column.name,
        "task": str(chosen),
        "prediction": f"predicted_{column.name}",
        "unit": "",
    }
    if chosen is Task.CLASSIFICATION:
        classes = _classes(column, notes)
        if column.numeric and task is None:
            notes.append(
                f"{column.name!r} has {len(classes)} different numbers, which are predicted as "
                "classes; --task regression predicts a number."
            )
        return table | {"classes": classes}
    if not column.numeric:
        examples = " and ".join(repr(text) for text in column.texts[:2])
        raise Invalid(
            f"The target {column.name!r} is not a number ({examples}), so regression is "
            "impossible: choose classification or another target."
        )
    return table


def _check(column: RawColumn) -> None:
    """Refuse a target that nothing can be learnt about."""
    wrong = ""
    if column.mostly_blank:
        wrong = f"is mostly blank: {column.rows - column.filled:,} of {column.rows:,} cells"
    elif column.filled < ROWS:
        wrong = f"has {column.filled:,} rows with a value; at least {ROWS} are needed: add rows"
    elif column.type is FeatureType.DATE:
        wrong = "is a date; predict a number, such as days"
    elif column.unique and column.type is FeatureType.CATEGORY:
        wrong = "has another text in every row, one class per row: it is an identifier"
    elif column.unique and column.numeric and (column.called_id or _consecutive(column)):
        wrong = "numbers the rows: it is an identifier"
    elif len(column.categories()) == 1:
        wrong = "is constant: every row has the same value"
    if wrong:
        raise Invalid(f"The target {column.name!r} {wrong}. Mend it or choose another target.")


def _consecutive(column: RawColumn) -> bool:
    return bool((np.diff(column.values()) == 1).all())


def _few(column: RawColumn) -> bool:
    """True if the column has few values, each in many rows."""
    if not column.numeric:
        return True
    rows = list(column.categories().values())
    few = len(rows) <= FEW and min(rows) >= CLASS_ROWS
    return column.type is FeatureType.INTEGER and (few or len(rows) == 2)  # noqa: PLR2004 - yes, no


def _classes(column: RawColumn, notes: list[str]) -> list[str]:
    found = column.categories()
    kept = [name for name, rows in found.items() if rows >= CLASS_ROWS]
    rows = sum(found[name] for name in kept)
    if not 2 <= len(kept) <= CLASSES or rows < column.filled / 2:  # noqa: PLR2004 - it takes two
        raise Invalid(
            f"The target {column.name!r} has {len(found):,} different values, {len(kept):,} of "
            f"them in {CLASS_ROWS} rows or more, so classification is impossible: it takes 2 to "
            f"{CLASSES} classes of {CLASS_ROWS} rows. Merge or delete rare ones"
            f"{', or choose regression' if column.numeric else ''}."
        )
    notes.extend(
        f"{column.name!r}: class {name!r} has {found[name]} rows, fewer than {CLASS_ROWS}; they "
        "are dropped."
        for name in found
        if name not in kept
    )
    numbers = [category_number(name) for name in kept]
    if all(number is not None for number in numbers):
        return sorted(kept, key=float)
    return sorted(kept, key=fold)
