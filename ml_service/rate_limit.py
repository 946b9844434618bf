"""Requests per client and time.

Predictions are counted with `limits` itself: 2 µs a request, where slowapi's decorator takes 25 µs,
a fifth of a prediction. The other routes have slowapi (`route_limiter`).

A window begins with a client's first request. Each replica counts its own requests. Where replicas
share a Redis, windows follow the clock instead, and each replica adds its counts to the Redis ten
times a second and goes on from the sum.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter
from slowapi import Limiter
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address
from starlette.requests import Request
from starlette.responses import Response

from aimq.errors import RateLimited, SettingsError
from aimq.http import problems
from aimq.http.credentials import Caller
from aimq.http.guard import caller_of
from aimq.settings import Settings

logger = logging.getLogger(__name__)

#: Seconds between two exchanges of counts with the shared storage.
SHARE_SECONDS: Final = 0.1
#: Longest waits for the shared storage, in seconds.
_SHARED_OPTIONS: Final[dict[str, Any]] = {"socket_connect_timeout": 0.25, "socket_timeout": 0.25}
#: A request counts as this many units, and as more when the rate is scaled down: thus the counters
#: go on while the rate changes.
_UNITS: Final = 100


class RateLimit:
    """Limits each client, by address. Belongs to the event loop; never blocks it.

    Args:
        limit: as ``2000/second``.
        shared: where replicas add up their counts; None: there are no others.
        clock: seconds since the epoch.

    Raises:
        SettingsError: the limit cannot be read.
    """

    def __init__(
        self, limit: str, shared: Storage | None, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            self._configured = parse(limit)
        except ValueError as exc:
            raise SettingsError(f"AIMQ_RATE_LIMIT: {exc}; write it as 2000/second") from None
        self.seconds = self._configured.get_expiry()
        self._units = _in_units(self._configured)
        self._cost = _UNITS
        self._share = 1.0
        self._here = MemoryStorage()
        self._limiter = FixedWindowRateLimiter(self._here)
        self._shared = shared
        self._not_shared: Counter[str] = Counter()
        self._clock = clock

    @property
    def amount(self) -> int:
        """Requests that a client may send in a window at present."""
        return max(1, math.floor(self._configured.amount * self._share))

    def scale(self, share: float) -> None:
        """Let clients use a part of the configured rate, above 0 and up to 1."""
        self._share = share
        self._cost = self._units.amount // self.amount

    def text(self) -> str:
        """Return the present limit as slowapi reads it.

        Its counters are named after the limit, so it follows the share by tenths.
        """
        amount = self._configured.amount * math.ceil(10 * self._share) // 10
        return f"{max(1, amount)}/{self.seconds} second"

    def take(self, client: str) -> None:
        """Count a request of a client. Raises `RateLimited` when it has used up its window."""
        names = (client,) if self._shared is None else (client, self._window())
        if not self._limiter.hit(self._units, *names, cost=self._cost):
            raise RateLimited(
                f"More than {self.amount} requests in {self.seconds} s; try again later.",
                retry_after=self._seconds_left(names),
            )
        if self._shared is not None:
            self._not_shared[self._units.key_for(*names)] += self._cost

    def _window(self) -> str:
        return str(int(self._clock() // self.seconds))

    def _seconds_left(self, names: tuple[str, ...]) -> float:
        now = self._clock()
        if self._shared is not None:
            return self.seconds - now % self.seconds
        reset = self._limiter.get_window_stats(self._units, *names).reset_time
        return min(max(reset - now, 0.001), float(self.seconds))

    async def share(self) -> None:
        """Add what was counted here to the shared storage, and go on from the sums."""
        counted, self._not_shared = self._not_shared, Counter()
        sums = await asyncio.to_thread(self._exchange, counted)
        for key, total in sums.items():
            here = self._here.get(key) - self._not_shared[key]
            if total > here:
                self._here.incr(key, self.seconds, amount=total - here)

    def _exchange(self, counted: Counter[str]) -> dict[str, int]:
        """Return the sums by key; none, and the counts are lost, while the storage is away."""
        assert self._shared is not None  # noqa: S101 # nothing is counted for it otherwise
        try:
            return {
                key: self._shared.incr(key, self.seconds, amount=units)
                for key, units in counted.items()
            }
        except self._shared.base_exceptions as exc:
            logger.warning("rate limits are counted by each replica alone: %s", exc)
            return {}

    @contextlib.asynccontextmanager
    async def sharing(self) -> AsyncIterator[None]:
        """Share the counts while the block runs."""

        async def forever() -> None:
            while True:
                await asyncio.sleep(SHARE_SECONDS)
                if self._not_shared:
                    await self.share()

        task = asyncio.create_task(forever())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _in_units(item: RateLimitItem) -> RateLimitItem:
    return type(item)(item.amount * _UNITS, item.multiples, "aimq/ml")


async def answer_exceeded(request: Request, exc: Exception) -> Response:
    """Answer a request that slowapi refused."""
    assert isinstance(exc, RateLimitExceeded)  # noqa: S101 # registered for it
    item, names = request.state.view_rate_limit
    stats = request.app.state.limiter.limiter.get_window_stats(item, *names)
    wait = min(max(1.0, stats.reset_time - time.time()), item.get_expiry())
    error = RateLimited(f"More than {item}; try again later.", retry_after=wait)
    return problems.response(error, limit_headers(item.amount, wait))


def limit_headers(amount: int, wait: float) -> dict[str, str]:
    """Return ``RateLimit-*`` for a refused request.

    The fields of draft-polli-ratelimit-headers: the limit, what is left, seconds until reset.
    """
    return {
        "RateLimit-Limit": str(amount),
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": str(max(1, math.ceil(wait))),
    }


def is_internal(request: Request) -> bool:
    """Return whether one of our services asks; it has no limit."""
    return caller_of(request.scope) is Caller.INTERNAL


def connect_storage(settings: Settings) -> Storage | None:
    """Return the storage that replicas share: the Redis of the job store, if there is one.

    It is connected to when it is used.
    """
    if not settings.store_url.startswith(("redis://", "rediss://")):
        return None
    return storage_from_string(settings.store_url, **_SHARED_OPTIONS)  # type: ignore[return-value] # the URL is not an async one


def route_limiter(settings: Settings) -> Limiter:
    """Return the limiter of the routes that predict nothing.

    While its Redis is away it counts in memory.
    """
    if connect_storage(settings) is None:
        return Limiter(key_func=get_remote_address)
    return Limiter(
        key_func=get_remote_address,
        storage_uri=settings.store_url,
        storage_options=dict(_SHARED_OPTIONS),
        in_memory_fallback_enabled=True,
    )
