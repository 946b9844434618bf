"""Names and arguments of exchange and queues. Pure: no connection, no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aimq.messages import Kind

EXCHANGE: Final = "aimq"
UPLOADS: Final = "aimq.uploads"
TASKS: Final = "aimq.tasks"
FACTORIALS: Final = "aimq.tasks.factorial"
WEBHOOKS: Final = "aimq.webhooks"
WORK_QUEUES: Final = (UPLOADS, TASKS, FACTORIALS, WEBHOOKS)
#: What ``--queues`` of the command line accepts. "tasks" is every kind of task and what is told
#: of them; each kind can also be given workers of its own.
SHORT_NAMES: Final = {
    "uploads": (UPLOADS,),
    "tasks": (TASKS, FACTORIALS, WEBHOOKS),
    "predictions": (TASKS,),
    "factorials": (FACTORIALS,),
    "webhooks": (WEBHOOKS,),
}

_QUEUES: Final = {
    Kind.SPREADSHEET: UPLOADS,
    Kind.PREDICTION: TASKS,
    Kind.FACTORIAL: FACTORIALS,
    Kind.WEBHOOK: WEBHOOKS,
}


def queue_of(kind: Kind) -> str:
    """Return the work queue on which messages of `kind` travel.

    What takes seconds has a queue apart from what takes milliseconds: in one and the same queue
    the quick would wait behind the slow, however many workers there are.
    """
    return _QUEUES[kind]


def dead_queue(queue: str) -> str:
    """Return the dead-letter queue of a work queue."""
    return f"{queue}.dead"


@dataclass(frozen=True, slots=True)
class RetryStep:
    """One retry queue: every message in it waits equally long, so none blocks another."""

    queue: str
    delay_seconds: float


def retry_steps(queue: str, base_seconds: float, max_seconds: float) -> list[RetryStep]:
    """Return the retry queues of a work queue, shortest delay first.

    Delays double from `base_seconds` and end with `max_seconds`; both in seconds.
    """
    delays = []
    delay = base_seconds
    while delay < max_seconds:
        delays.append(delay)
        delay *= 2
    delays.append(max_seconds)
    return [RetryStep(f"{queue}.retry.{n}", d) for n, d in enumerate(delays, start=1)]
