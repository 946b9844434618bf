"""Tasks that go round for as long as the service runs."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from aimq.backoff import RetryPolicy
from aimq.errors import AimqError

#: Between rounds that fail: at most ten seconds, so that an outage's end is soon noticed.
_BACKOFF: Final = RetryPolicy(max_attempts=1, base_seconds=1.0, max_seconds=10.0)

logger = logging.getLogger(__name__)


async def forever(name: str, step: Callable[[], Awaitable[None]], interval: float) -> None:
    """Run `step` every `interval` seconds until cancelled; more and more rarely while it fails.

    An outage is logged when it begins and when it ends, not in between.
    """
    failures = 0
    while True:
        delay = interval
        try:
            await step()
            if failures:
                logger.info("%s works again", name)
            failures = 0
        except Exception as exc:  # noqa: BLE001 # whatever it was, the next round must come
            failures += 1
            delay = _BACKOFF.delay(failures, random.random)
            _log(name, exc, first=failures == 1)
        await asyncio.sleep(delay)


def _log(name: str, exc: Exception, *, first: bool) -> None:
    if not isinstance(exc, AimqError):
        logger.error("%s failed", name, exc_info=exc)
    elif first:
        logger.warning("%s waits: %s", name, exc.detail)
