"""Population stability index: how far the distribution of a column moved from training to now.

    PSI = sum over bins of (actual - expected) * ln(actual / expected)

with the share of rows in each bin. Under 0.1 the column is called stable, from 0.25 on the change
is large. Source: N. Siddiqi, Credit Risk Scorecards, Wiley 2006, chapter 9. Half a row is added to
each bin, so that an empty one has a logarithm.

Rows of one and the same distribution differ, too: with B bins, n and m rows their index is
distributed as (1/n + 1/m) times chi-squared with B - 1 degrees of freedom. What stays below the
99 % quantile of that is called stable whatever the thresholds say, so that few rows raise no alarm.
Source: B. Yurdakul, Statistical Properties of Population Stability Index, Western Michigan
University 2018.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Thresholds of the index.
MODERATE: Final = 0.1
LARGE: Final = 0.25
#: 99 % quantile of the standard normal distribution.
_Z: Final = 2.326

Counts = NDArray[np.int64]


class Verdict(StrEnum):
    """What an index says."""

    STABLE = "stable"
    MODERATE = "moderate"
    LARGE = "large"


def index_of(expected: Counts, actual: Counts) -> float:
    """Return the population stability index of two columns of counts (bins,)."""
    shares = [(counts + 0.5) / (counts + 0.5).sum() for counts in (actual, expected)]
    return float(np.sum((shares[0] - shares[1]) * np.log(shares[0] / shares[1])))


def by_chance(expected: Counts, actual: Counts) -> float:
    """Return what the index of two samples of one distribution exceeds in 1 % of the cases.

    The quantile of chi-squared is approximated as E. B. Wilson and M. M. Hilferty, 1931, do.
    """
    freedom = max(int(np.count_nonzero(expected + actual)) - 1, 1)
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + _Z * spread**0.5) ** 3
    return float(quantile * (1 / max(expected.sum(), 1) + 1 / max(actual.sum(), 1)))


def verdict_on(index: float, by_chance: float) -> Verdict:
    """Return what an index says, given the one that chance explains."""
    if index < max(MODERATE, by_chance):
        return Verdict.STABLE
    return Verdict.LARGE if index >= LARGE else Verdict.MODERATE
