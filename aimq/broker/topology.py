"""Names of the exchange and the queues, and the delays of retries. Pure."""

from __future__ import annotations

import math
from typing import Final

from aimq.messages import Kind

EXCHANGE: Final = "aimq"
UPLOADS: Final = "aimq.uploads"
TASKS: Final = "aimq.tasks"
FACTORIALS: Final = "aimq.tasks.factorial"
WEBHOOKS: Final = "aimq.webhooks"
WORK_QUEUES: Final = (UPLOADS, TASKS, FACTORIALS, WEBHOOKS)
#: What ``--queues`` of the command line accepts: all kinds of tasks together, or one kind.
SHORT_NAMES: Final = {
    "uploads": (UPLOADS,),
    "tasks": (TASKS, FACTORIALS, WEBHOOKS),
    "predictions": (TASKS,),
    "factorials": (FACTORIALS,),
    "webhooks": (WEBHOOKS,),
}
#: Delays of a broker that has only fixed ones, in seconds. All work queues share them.
RETRY_DELAYS: Final = (0.5, 2.0, 10.0, 60.0)

_QUEUES: Final = {
    Kind.SPREADSHEET: UPLOADS,
    Kind.PREDICTION: TASKS,
    Kind.FACTORIAL: FACTORIALS,
    Kind.WEBHOOK: WEBHOOKS,
    Kind.TRAINING: UPLOADS,
}


def queue_of(kind: Kind) -> str:
    """Return the work queue on which messages of `kind` travel.

    Work of seconds has another queue than work of milliseconds, which would wait behind it.
    """
    return _QUEUES[kind]


def dead_queue(queue: str) -> str:
    """Return the dead-letter queue of a work queue."""
    return f"{queue}.dead"


def retry_queue(delay: float) -> str:
    """Return the queue, and the exchange before it, in which messages wait `delay` seconds.

    The delay is part of the name, so that another choice of `RETRY_DELAYS` makes other queues.
    """
    return f"{EXCHANGE}.retry.{round(delay * 1000)}ms"


def nearest_delay(seconds: float) -> float:
    """Return the one of `RETRY_DELAYS` whose ratio to `seconds` is nearest to 1."""
    return min(RETRY_DELAYS, key=lambda delay: abs(math.log(delay / max(seconds, 1e-3))))
