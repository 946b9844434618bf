"""How one value is read: the same for records and for tables."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Final

from aimq.schema.feature import OTHER, Feature, FeatureType, category_key

#: No ISO 8601 date is longer, time of day and zone included.
_LONGEST_DATE: Final = 40


def is_blank(value: object) -> bool:
    """True if a value is missing: None, NaN, or text without a letter."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def read_date(value: object) -> dt.date | None:
    """Return the day of ISO 8601 text, a date or a time, as it is written; None if it is none."""
    if isinstance(value, dt.datetime):
        return value.date()
    if isinstance(value, dt.date):
        return value
    if not isinstance(value, str) or len(value) > _LONGEST_DATE:
        return None
    try:
        return dt.datetime.fromisoformat(value.strip()).date()
    except ValueError:
        return None


def read_code(
    feature: Feature, codes: Mapping[str, tuple[float, ...]], value: object
) -> tuple[float, ...] | None:
    """Return the code of a category or boolean, alone in a tuple; None if the value is wrong.

    Args:
        codes: folded spelling to code, as `Feature.codes` of the record's group.
    """
    boolean = feature.type is FeatureType.BOOLEAN and isinstance(value, bool)
    key = str(value).lower() if boolean else category_key(value)
    code = codes.get(key)
    if code is not None:
        return code
    if is_blank(value):
        return feature.blank_values or None
    return (OTHER,) if key and feature.other else None
