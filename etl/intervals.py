"""How wide a prediction interval must be, from errors on rows that a model was not fitted to.

Conformal prediction: an interval of ``prediction ± width`` holds the truth of a new row with at
least the stated probability if the width is the corrected quantile of absolute errors on rows like
it (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman 2018, Distribution-free predictive inference for
regression, section 2.2). Held-out rows give such errors of the published model. Where they are few,
errors come from the rows that each fold of a cross-validation leaves out (Vovk 2015,
Cross-conformal predictors). The models of folds are not the published one, so that the probability
is not proven: it is measured.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Percentages that half-widths are given for.
LEVELS: Final = range(1, 100)
#: Percentages whose coverage is measured.
MEASURED: Final = (50, 80, 90, 95)


def half_widths(errors: Floats) -> list[float]:
    """Return the half-widths of intervals of 1 % to 99 %, in the target's unit.

    The width of p % is the ⌈(n + 1) p / 100⌉-th smallest of n errors; where n is too small for
    that, the largest.

    Args:
        errors: absolute errors on rows not fitted to, float64 (n,), n at least one.
    """
    ordered, rows = np.sort(errors), len(errors)
    ranks = [-(-(rows + 1) * level // 100) for level in LEVELS]
    return [float(ordered[min(rank, rows) - 1]) for rank in ranks]


def coverage(errors: Floats, widths: list[float]) -> dict[int, float]:
    """Return the share of rows whose absolute error the interval holds, per level of `MEASURED`."""
    return {level: float((errors <= widths[level - 1]).mean()) for level in MEASURED}


def crossed(errors: Floats) -> dict[int, float]:
    """Return the coverage of each half of the errors by the widths of the other half, averaged.

    It is what widths from all of these errors cover of other rows. Empty for fewer than two.
    """
    halves = errors[::2], errors[1::2]
    if not len(halves[1]):
        return {}
    one, other = (coverage(b, half_widths(a)) for a, b in (halves, halves[::-1]))
    return {level: (one[level] + other[level]) / 2 for level in MEASURED}
