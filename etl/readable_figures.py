"""Figures as people read them."""

from __future__ import annotations

import math
from typing import Final

#: Numbers from here on have no fraction, and from there on a power of ten.
_WHOLE: Final = 1_000
_HUGE: Final = 1e12


def figure(value: float) -> str:
    """Return a number with about three digits that count, and thousands separators."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if _WHOLE <= abs(value) < _HUGE else f"{value:.3g}"


def share(value: float) -> str:
    """Return a part of 1 in per cent."""
    return f"{value:.1%}"
