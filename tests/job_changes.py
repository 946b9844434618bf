"""Waiting for what jobs come to."""

from __future__ import annotations

import threading
from collections.abc import Callable

from aimq.jobs.port import JobStore

PATIENCE = 20.0


def until(store: JobStore, condition: Callable[[], bool]) -> None:
    """Wait until something holds; looked at after every change of a job, and often.

    Raises:
        TimeoutError: it never came to hold.
    """
    changed = threading.Event()
    end = store.watch(lambda _job: changed.set())
    try:
        for _ in range(int(PATIENCE / 0.02)):
            if condition():
                return
            changed.wait(0.02)
            changed.clear()
    finally:
        end()
    raise TimeoutError("it never came to hold")
