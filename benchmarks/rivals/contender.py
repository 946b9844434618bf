"""What the studies ask of a task queue. Imports nothing that either environment lacks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Final, NamedTuple

BROKER_URL: Final = "BENCH_BROKER_URL"
STORE_URL: Final = "BENCH_STORE_URL"
ML_URL: Final = "BENCH_ML_URL"
#: ``classic`` (durable) or ``quorum`` (a replicated log, flushed to the disk before a confirm).
QUEUE_TYPE: Final = "BENCH_QUEUE_TYPE"

#: One car, the work of every task.
RECORD: Final[dict[str, object]] = {
    "model_group": "A", "model": 180, "kilometers": 84000, "fuel_type": "Diesel",
    "gear_type": "Manual", "vehicle_type": "Hatchback", "age_in_months": 60, "color": "White",
    "line": "Comfortline", "doors": "4 to 5", "seats": "4 to 5", "climate": "Air Conditioning",
}  # fmt: skip


class Contender(NamedTuple):
    """A task queue.

    Attributes:
        submit: puts so many tasks on the queue, returns once the broker has confirmed all, and says
            when it began to publish (`time.perf_counter`), after what it wrote elsewhere first.
        results: names the Redis command whose answer is how many results are stored.
    """

    submit: Callable[[int], float]
    results: tuple[str, ...] = ("DBSIZE",)


def trivial(record: dict[str, object]) -> dict[str, object]:
    """Do next to nothing, so that what is measured is the queue."""
    return {"predicted_price": 1000.0 + len(record), "model_group": record["model_group"]}


def urls() -> tuple[str, str]:
    """Return the addresses of broker and store."""
    return os.environ[BROKER_URL], os.environ[STORE_URL]


def quorum() -> bool:
    """Tell whether the rival's queue is to be a quorum queue."""
    return os.environ.get(QUEUE_TYPE) == "quorum"


def payload() -> bytes:
    """Return the record as JSON."""
    return json.dumps(RECORD).encode()
