"""What is said of a wrong value: the same words for requests and for spreadsheets."""

from __future__ import annotations

from typing import Final

from aimq.schema.model import Feature, FeatureType

#: A client's value is quoted no longer than this.
_QUOTED: Final = 60
#: A list of what is allowed is no longer than this.
_LISTED: Final = 20
#: An integer of more bits is not written out: `str` refuses over 4,300 digits.
_WIDE: Final = 256

MISSING: Final = "is missing"


def quote(value: object) -> str:
    """Return a client's value short enough to be shown."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > _WIDE:
        return f"a number of about {value.bit_length() * 3 // 10} digits"
    if isinstance(value, str):
        return repr(value if len(value) <= _QUOTED else value[:_QUOTED] + "…")
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = str(value)
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "…"


def allowed(feature: Feature, group: str | None = None) -> str:
    """Return what a feature accepts, in words."""
    if feature.numeric:
        kind = "whole number" if feature.type is FeatureType.INTEGER else "number"
        unit = f" {feature.unit}" if feature.unit else ""
        return f"a {kind} from {feature.minimum:,.15g} to {feature.maximum:,.15g}{unit}"
    return listed(feature.by_group.get(group or "", feature.categories))


def listed(values: tuple[str, ...]) -> str:
    """Return `values` as ``one of a, b, c``, shortened."""
    more = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return "one of " + ", ".join(values[:_LISTED]) + more


def wrong(feature: Feature, value: object, group: str | None = None) -> str:
    """Return the sentence on a value that `feature` does not accept."""
    return f"{quote(value)} is not {allowed(feature, group)}"
