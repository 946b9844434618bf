"""Error texts of a wrong value: the same for records and for spreadsheets."""

from __future__ import annotations

from typing import Final

from aimq.schema.feature import LARGEST, Feature, FeatureType

#: Longest quotation of a client's value, in characters.
_QUOTED: Final = 60
#: Longest list of allowed categories.
_LISTED: Final = 20
#: An integer of more bits is not written out: `str` refuses over 4,300 digits.
_WIDE: Final = 256


def quote(value: object) -> str:
    """A client's value, shortened."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > _WIDE:
        return f"a number of about {value.bit_length() * 3 // 10} digits"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = value if isinstance(value, str) else str(value)
    short = text if len(text) <= _QUOTED else text[:_QUOTED] + "…"
    return repr(short) if isinstance(value, str) else short


def allowed(feature: Feature, group: str | None = None) -> str:
    """What a feature accepts; in one group if it is given, else in any."""
    if feature.numeric:
        kind = "whole number" if feature.type is FeatureType.INTEGER else "number"
        return f"a {kind}{_limits(feature)}"
    if feature.type is FeatureType.BOOLEAN:
        return "true or false"
    if feature.type is FeatureType.DATE:
        return "a date such as 2024-05-31"
    if feature.other:
        return "a text or a number"
    words = feature.categories_of(group)
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return "one of " + ", ".join(words[:_LISTED]) + more


def _limits(feature: Feature) -> str:
    """The limits of a number, those alone that the schema has."""
    unit = f" {feature.unit}" if feature.unit else ""
    low = f"{feature.minimum:,.15g}" if feature.minimum > -LARGEST else ""
    high = f"{feature.maximum:,.15g}{unit}" if feature.maximum < LARGEST else ""
    if low and high:
        return f" from {low} to {high}"
    if low:
        return f" of at least {low}{unit}"
    return f" of at most {high}" if high else ""


def wrong(feature: Feature, value: object, group: str | None = None) -> str:
    """The error text of a value that `feature` refuses. None and blank text are missing values."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return "is missing"
    return f"{quote(value)} is not {allowed(feature, group)}"
