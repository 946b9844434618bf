"""Reads the texts of one column as its feature says, and tells what had to be repaired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aimq.errors import Invalid
from aimq.schema.model import Feature, FeatureType, fold
from etl.dates import read_dates
from etl.numbers import Mask, read_numbers

#: What stands for nothing in a cell, folded, unless the schema has a category of that name.
BLANKS: Final = frozenset(
    {"", "-", "--", "?", "n/a", "na", "nan", "null", "none", "#n/a", "<na>", "nil", "unknown"}
)


@dataclass(frozen=True, slots=True)
class TidyColumn:
    """The texts of a column, read; n texts.

    Attributes:
        values: (n,), numbers as float64, else canonical text, ISO 8601 of dates; NaN or None where
            a text is blank or cannot be read.
        blank: bool (n,).
        unread: reason to bool (n,), texts that cannot be read.
        repaired: what was repaired to bool (n,).
    """

    values: NDArray[np.float64] | NDArray[np.object_]
    blank: Mask
    unread: Mapping[str, Mask] = field(default_factory=dict)
    repaired: Mapping[str, Mask] = field(default_factory=dict)


def tidy_column(feature: Feature, raw: pd.Series[str]) -> TidyColumn:
    """Read the distinct texts of a column.

    A category that is not known is left as it is, for the schema to refuse or to take.

    Raises:
        Invalid: the dates cannot be read for certain; names the feature.
    """
    text = raw.str.strip()
    folded = text.map(fold).astype(str)
    known = {spelling: _canonical(feature, code) for spelling, code in feature.codes().items()}
    nothing = {""} if feature.other else BLANKS
    blank = (folded.isin(nothing) & ~folded.isin(list(known))).to_numpy(dtype=np.bool_)
    repaired = {"outer spaces": (raw != text).to_numpy() & ~blank}
    if feature.numeric:
        numbers = read_numbers(text, feature.unit)
        unread = {"not a number": np.isnan(numbers.values) & ~blank}
        repaired["number written as text"] = numbers.rewritten & ~blank
        return TidyColumn(np.where(blank, np.nan, numbers.values), blank, unread, repaired)
    if feature.type is FeatureType.DATE:
        days, unread_days = _days(feature, text, blank)
        return TidyColumn(days, blank, {"not a date": unread_days}, repaired)
    canonical = folded.map(known).fillna(text)
    respelled = (canonical != text).to_numpy() & ~blank
    if feature.type is FeatureType.CATEGORY:
        repaired["category spelled otherwise"] = respelled
    values = canonical.astype(object).mask(blank, None).to_numpy(dtype=object)
    return TidyColumn(values, blank, {}, repaired)


def _canonical(feature: Feature, code: int) -> str:
    return feature.categories[code] if feature.categories else ("false", "true")[code]


def _days(feature: Feature, text: pd.Series[str], blank: Mask) -> tuple[NDArray[np.object_], Mask]:
    """Return ISO dates, None where there is none, and the texts that are no date."""
    dates = read_dates(text)
    if dates.fault:
        shown = " and ".join(map(repr, dates.examples))
        raise Invalid(
            f"{feature.name!r}: the dates {shown} cannot be read for certain ({dates.fault}): "
            "write all as 2024-05-31."
        )
    unread = np.isnat(dates.days) & ~blank
    texts = dates.days.astype(str).astype(object)
    texts[np.isnat(dates.days)] = None
    return texts, unread
