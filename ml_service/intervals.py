"""Prediction intervals: ``?interval=90`` asks for one that contains 90 % of the outcomes.

An interval is the prediction, less and plus a half-width that was calibrated in training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

import numpy as np

from aimq.errors import Invalid
from aimq.profile import LEAST_INTERVAL, MOST_INTERVAL
from ml_service.version import ONNX, Version

#: Shares of the outcomes that may be asked for, in percent.
SHARES: Final = range(LEAST_INTERVAL, MOST_INTERVAL + 1)

#: Group to half the width of its interval; empty: no interval is asked for.
HalfWidths = Mapping[str, np.float32]
NO_INTERVAL: Final[HalfWidths] = {}


def read_interval(query: bytes) -> int:
    """Return the number of ``interval=90`` in a query; 0 if it is not there.

    Raises:
        Invalid: it is no whole number of `SHARES`.
    """
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("interval")
    if given is None:
        return 0
    text = given[-1]
    if not re.fullmatch("[0-9]{2}", text) or int(text) not in SHARES:
        message = f"must be a whole number of percent from {SHARES[0]} to {SHARES[-1]}"
        raise Invalid(
            f"interval {message}, not {text[:20]!r}.",
            errors=[{"field": "interval", "message": message, "given": text[:20]}],
        )
    return int(text)


def half_widths(version: Version, interval: int) -> HalfWidths:
    """Return half the width of each group's interval; none if `interval` is 0.

    Raises:
        Invalid: the version has no intervals; says why.
    """
    if not interval:
        return NO_INTERVAL
    widths = {} if version.profile is None else version.profile.intervals
    groups = version.groups(ONNX)
    if not widths.keys() >= groups.keys():
        why = (
            "its predictions are classes, which have a probability"
            if version.schema.classes
            else "none were calibrated when it was trained or imported"
        )
        raise Invalid(
            f"Version {version.name} of {version.manifest.name} has no prediction intervals: "
            f"{why}. Ask without interval.",
            errors=[{"field": "interval", "message": f"is not available: {why}"}],
        )
    return {group: np.float32(widths[group][interval - 1]) for group in groups}
