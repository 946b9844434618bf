"""Reading numbers as people write them: thousands separators, decimal commas, units."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_THOUSANDS: Final = r"^[+-]?\d{1,3}(?:[, '\u00a0\u202f]\d{3})+(?:\.\d+)?$"
#: With a comma before the fraction, and perhaps points or spaces between thousands.
_COMMA: Final = r"^[+-]?(?:\d+|\d{1,3}(?:[. '\u00a0\u202f]\d{3})+),\d+$"
#: Thousands for certain: two separators, or a point after one.
_SURE_THOUSANDS: Final = r"^[+-]?\d{1,3}(?:,\d{3}){2,}$|^[+-]?\d{1,3}(?:,\d{3})+\.\d+$"

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


class DecimalMark(StrEnum):
    """What stands before the fractions of a column."""

    POINT = "point"
    COMMA = "comma"
    MIXED = "mixed"
    AMBIGUOUS = "ambiguous"


class Numbers(NamedTuple):
    """Texts read as numbers; n texts.

    Attributes:
        values: float64 (n,), NaN where a text is no number; infinity is one.
        rewritten: bool (n,), numbers that had to be rewritten to be read.
        meant: bool (n,), numbers, and those that are not read because the mark is MIXED.
        mark: of AMBIGUOUS and MIXED, commas are read as separators of thousands where they can be.
        examples: two texts that show why the mark is what it is; of POINT none.
    """

    values: Floats
    rewritten: Mask
    meant: Mask
    mark: DecimalMark
    examples: tuple[str, ...] = ()


def read_numbers(texts: pd.Series[str], unit: str = "") -> Numbers:
    """Read the distinct texts of a column, without outer spaces.

    A comma is a decimal mark only where no text says otherwise and one cannot be read with commas
    between thousands, such as ``1,5``.

    Args:
        unit: may follow a number.
    """
    plain = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
    bare = texts.str.removesuffix(unit).str.rstrip() if unit else texts
    mark, examples = _decimal_mark(bare[np.isnan(plain)], bare[~np.isnan(plain)])
    if mark is DecimalMark.COMMA:
        written = bare.str.fullmatch(_COMMA)
        digits = bare.str.replace(r"[^\d,+-]", "", regex=True).str.replace(",", ".")
    else:
        written = bare.str.fullmatch(_THOUSANDS)
        digits = bare.str.replace(r"[^\d.+-]", "", regex=True)
    again = pd.to_numeric(bare.where(~written, digits), errors="coerce").to_numpy(np.float64)
    rewritten: Mask = np.isnan(plain) & ~np.isnan(again)
    values = np.where(rewritten, again, plain)
    meant = ~np.isnan(values) | bare.str.fullmatch(_COMMA).to_numpy(dtype=np.bool_)
    return Numbers(values, rewritten, meant, mark, examples)


def _decimal_mark(
    odd: pd.Series[str], plain: pd.Series[str]
) -> tuple[DecimalMark, tuple[str, ...]]:
    """Tell the decimal mark from texts that are no plain numbers, and those that are."""
    if odd.empty:
        return DecimalMark.POINT, ()
    commas = odd[odd.str.fullmatch(_COMMA) & odd.str.contains(",")]
    decimals = commas[~commas.str.fullmatch(_THOUSANDS) | commas.str.match(r"[+-]?0")]
    sure = odd[odd.str.fullmatch(_SURE_THOUSANDS)]
    points = pd.concat([plain[plain.str.contains(r"\.\d*[1-9]")], sure])
    if len(decimals):
        if len(points):
            return DecimalMark.MIXED, (decimals.iloc[0], points.iloc[0])
        return DecimalMark.COMMA, (decimals.iloc[0],)
    small = plain[pd.to_numeric(plain).abs() < 1000]  # noqa: PLR2004 - no separator is due there
    if len(commas) and not len(sure) and not 0 < len(plain) == len(small):
        return DecimalMark.AMBIGUOUS, (commas.iloc[0],)
    return DecimalMark.POINT, ()
