"""Refuses columns of numbers and dates that cannot be read for certain, and notes what is read."""

from __future__ import annotations

from aimq.errors import Invalid
from aimq.schema.model import FeatureType
from etl.dates import DateFault
from etl.numbers import DecimalMark
from etl.raw_column import RawColumn


def check_readable(column: RawColumn) -> list[str]:
    """Return what a person should know of how a column is read, one sentence each.

    Raises:
        Invalid: the column mixes decimal marks or ways to write a date, or its commas may stand
            before fractions as well as between thousands; shows cells and says what to do.
    """
    if column.type is FeatureType.DATE and column.dates.fault is DateFault.MIXED:
        one, other = column.dates.examples
        raise Invalid(
            f"{column.name!r} mixes ways to write a date, such as {one!r} and {other!r}: write all "
            "alike, best as 2024-05-31, or delete the column."
        )
    notes = _check_mark(column) if column.numeric else []
    rows, text = column.unreadable
    if rows and not (column.type is FeatureType.DATE and column.dates.fault):
        kind = "date" if column.type is FeatureType.DATE else "number"
        notes.append(f"{column.name!r}: {rows:,} rows without a {kind}, such as {text!r}, dropped.")
    return notes


def _check_mark(column: RawColumn) -> list[str]:
    mark, examples = column.numbers.mark, column.numbers.examples
    if mark is DecimalMark.MIXED:
        raise Invalid(
            f"{column.name!r} has numbers with a comma and with a point before the fraction, such "
            f"as {examples[0]!r} and {examples[1]!r}: write all with a point."
        )
    if mark is DecimalMark.AMBIGUOUS:
        raise Invalid(
            f"{column.name!r}: the comma in {examples[0]!r} may stand before a fraction or between "
            "thousands: write the numbers without separators, and fractions with a point."
        )
    if mark is DecimalMark.COMMA:
        return [f"{column.name!r}: the comma in {examples[0]!r} is read as the decimal mark."]
    return []
