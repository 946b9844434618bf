"""Waiting for what a background thread or the event loop brings about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return once the condition holds; fail when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("did not come about in time")
        time.sleep(0.01)


async def callbacks_done() -> None:
    """Let the event loop do what has been scheduled, such as closing connections."""
    for _ in range(10):
        await asyncio.sleep(0)
