"""What the batch processor counts; served under ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

MESSAGES: Final = Counter(
    "aimq_messages_total", "Messages settled, by what became of them.", ["kind", "end"]
)
ACTIVE: Final = Gauge("aimq_work_active", "Calls of handlers under way.", ["kind"])
SECONDS: Final = Histogram(
    "aimq_work_seconds",
    "Length of one call of a handler, in seconds.",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)


@contextmanager
def active(kind: str) -> Iterator[None]:
    """Count and time the call of a handler for the length of a ``with`` block."""
    with ACTIVE.labels(kind).track_inprogress(), SECONDS.labels(kind).time():
        yield
