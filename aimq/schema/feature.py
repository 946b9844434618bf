"""One column of a table: its type, what it accepts, and its columns of the matrix."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from numbers import Integral, Real
from typing import Final

#: Beyond this a number is infinite in the float32 matrix that the models see.
LARGEST: Final = 3.4028234663852886e38
#: Codes beside those of the categories.
BLANK: Final = -1.0
OTHER: Final = -2.0
#: Folded texts that a boolean may be given as.
BOOLEANS: Final[Mapping[str, int]] = {
    "true": 1, "yes": 1, "1": 1, "1.0": 1, "false": 0, "no": 0, "0": 0, "0.0": 0,
}  # fmt: skip
#: Day 0 of ``days`` in the matrix.
EPOCH: Final = dt.date(2000, 1, 1)
#: No category is the name of an integer of more bits: `str` refuses over 4,300 digits.
_WIDEST: Final = 256


class FeatureType(StrEnum):
    """How a feature's values are read."""

    NUMBER = "number"
    INTEGER = "integer"
    CATEGORY = "category"
    BOOLEAN = "boolean"
    DATE = "date"


def fold(text: str) -> str:
    """Return the form under which names and categories are compared: no case, no outer space."""
    return text.strip().casefold()


def category_key(value: object) -> str:
    """Return the folded name of the category that a value stands for.

    Text stands for itself and a number for its shortest name: 180 and 180.0 for "180", 1.5 for
    "1.5". Empty, which no category is, for every other value: booleans, NaN, infinity, dates.
    """
    if isinstance(value, str):
        return fold(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return ""
    if not isinstance(value, Integral):
        value = float(value)
        if not value.is_integer():
            return repr(value) if math.isfinite(value) else ""
    number = int(value)
    return str(number) if number.bit_length() <= _WIDEST else ""


def category_number(category: str) -> int | float | None:
    """Return the number whose name a category is; None if there is no such number."""
    try:
        number = float(category)
    except ValueError:
        return None
    if category_key(number) != fold(category):
        return None
    return int(number) if number.is_integer() else number


def date_values(day: dt.date) -> tuple[float, float, float]:
    """Return a date as the matrix holds it: days since `EPOCH`, month 1 to 12, Monday as 0."""
    return float(day.toordinal() - EPOCH.toordinal()), float(day.month), float(day.weekday())


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column that the model sees.

    Attributes:
        unit: of the values, for people.
        minimum: smallest value allowed (numbers); inclusive.
        maximum: largest value allowed (numbers); inclusive.
        categories: every category, in the order of their codes 0, 1, 2, …
        by_group: group to the categories it knows, where not every group knows all of them.
        blank: the value may be missing.
        fill: what the matrix holds for a missing number or date; None for codes.
        example: a usual number or date, for forms and examples; None: `fill`, or one in the range.
        other: a category that is not listed is taken too; all of them have the code `OTHER`.
    """

    name: str
    type: FeatureType
    description: str = ""
    unit: str = ""
    minimum: float = -LARGEST
    maximum: float = LARGEST
    categories: tuple[str, ...] = ()
    by_group: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    blank: bool = False
    fill: float | dt.date | None = None
    example: float | dt.date | None = None
    other: bool = False

    @property
    def numeric(self) -> bool:
        """True if values are numbers."""
        return self.type in {FeatureType.NUMBER, FeatureType.INTEGER}

    @property
    def coded(self) -> bool:
        """True if the matrix holds codes, whose order means nothing: categories and booleans."""
        return self.type in {FeatureType.CATEGORY, FeatureType.BOOLEAN}

    @property
    def matrix_columns(self) -> tuple[str, ...]:
        """Names of the feature's columns of the matrix."""
        if self.coded:
            return (self.name,)
        parts = (".days", ".month", ".weekday") if self.type is FeatureType.DATE else ("",)
        return tuple(self.name + part for part in (*parts, ".blank")[: len(parts) + self.blank])

    @property
    def blank_values(self) -> tuple[float, ...]:
        """What the matrix holds for a missing value; empty if none may be missing."""
        if not self.blank:
            return ()
        if isinstance(self.fill, dt.date):
            return (*date_values(self.fill), 1.0)
        return (BLANK,) if self.fill is None else (float(self.fill), 1.0)

    def categories_of(self, group: str | None) -> tuple[str, ...]:
        """Return the categories that a group knows; of None, every category."""
        return self.categories if group is None else self.by_group.get(group, self.categories)

    def codes(self, group: str | None = None) -> dict[str, int]:
        """Return the code of each category that a group knows, by spelling; of None, of every one.

        Spellings are the category itself, its folded form, and ``180.0`` for ``180``, as table
        programs write a whole number in a column of fractions; of a boolean, `BOOLEANS`.
        """
        if self.type is FeatureType.BOOLEAN:
            return dict(BOOLEANS)
        known = set(self.categories_of(group))
        codes = {word: code for code, word in enumerate(self.categories) if word in known}
        fractions = {f"{word}.0": code for word, code in codes.items() if word.isdecimal()}
        return {**fractions, **{fold(word): code for word, code in codes.items()}, **codes}
