"""Times as the job stores and the embedded queue have them: microseconds since 1970, UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

#: Microseconds in a second.
MICRO: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ONE: Final = timedelta(microseconds=1)


def now_us() -> int:
    """Return the time of day in microseconds since 1970."""
    return time.time_ns() // 1000


def to_us(moment: datetime) -> int:
    """Return a moment in microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _ONE


def from_us(value: int | None) -> datetime | None:
    """Return the moment (UTC) of a number of microseconds since 1970; None for None."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)
