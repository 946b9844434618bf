"""The factorial workload: a stand-in for a model that thinks for a long time.

The work is the plain loop on purpose. Its cost grows a little faster than the square of ``no``: a
hundredfold range of durations from one parameter, on one core, without any input data.
"""

from __future__ import annotations

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, localcontext
from typing import Final

#: Digits at either end of a shortened result.
_SHOWN: Final = 20
#: Below this many bits `str` is quick, and within Python's limit of 4,300 digits.
_DIRECT_BITS: Final = 8192


def factorial(no: int) -> int:
    """Return ``no!`` by the plain loop; `no` is 0 or more. Holds the GIL: run it in a process."""
    result = 1
    for i in range(2, no + 1):
        result = result * i
    return result


def digits(value: int) -> str:
    """Return all decimal digits of a number that is 0 or more.

    `str` takes quadratic time and refuses more than 4,300 digits. This splits the bits in halves
    and joins them in decimal arithmetic, whose multiplication is fast (libmpdec, number theoretic
    transform): 711,273 digits take well under a second.
    """
    exact = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
    with localcontext(exact):
        return str(_decimal(value, value.bit_length(), {}))


def _decimal(value: int, bits: int, powers: dict[int, Decimal]) -> Decimal:
    if bits <= _DIRECT_BITS:
        return Decimal(value)
    half = bits // 2
    high, low = value >> half, value & ((1 << half) - 1)
    if half not in powers:
        powers[half] = Decimal(2) ** half
    return _decimal(high, bits - half, powers) * powers[half] + _decimal(low, half, powers)


def preview(text: str) -> str:
    """Return digits short enough for a list: both ends and how many there are."""
    if len(text) <= 3 * _SHOWN:
        return text
    return f"{text[:_SHOWN]}…{text[-_SHOWN:]} ({len(text):,} digits)"
