"""Requests per client and time.

Predictions are counted here: half a microsecond a request. slowapi's decorator takes 25, a fifth of
a prediction, and the counters in memory of `limits` look at all clients' counters for each request,
or start a thread for that a hundred times a second. `limits` reads the setting and counts in
Redis; slowapi limits the other routes (`limit_routes`).

A window begins with a client's first request. Each replica counts its own requests. Where replicas
share a Redis, windows follow the clock instead, and each replica adds its counts to the Redis ten
times a second and goes on from the sum.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from limits import parse
from limits.storage import Storage, storage_from_string
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

#: Decorates the function of a route, which has a parameter ``request``.
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

#: Seconds between two exchanges of counts with the shared storage.
SHARE_SECONDS: Final = 0.1
#: Longest waits for the shared storage, in seconds.
_SHARED_OPTIONS: Final[dict[str, Any]] = {"socket_connect_timeout": 0.25, "socket_timeout": 0.25}
#: Clients remembered at one time; beyond it those whose windows have ended are forgotten.
MOST_CLIENTS: Final = 10_000


@dataclass(slots=True)
class _Window:
    until: float
    used: int = 0
    not_shared: int = 0


class RateLimit:
    """Limits each client, by address. Belongs to the event loop; never blocks it.

    Args:
        limit: as ``2000/second``.
        shared: where replicas add up their counts; None: there are no others.
        parts: processes on one port that divide the limit, since they do not share counts.
        clock: seconds since the epoch.

    Raises:
        SettingsError: the limit cannot be read.
    """

    def __init__(
        self,
        limit: str,
        shared: Storage | None = None,
        clock: Callable[[], float] = time.time,
        parts: int = 1,
    ) -> None:
        try:
            self._item = parse(limit)
        except ValueError as exc:
            raise SettingsError(f"AIMQ_RATE_LIMIT: {exc}; write it as 2000/second") from None
        self._seconds = self._item.get_expiry()
        self._share = 1.0
        self._configured = max(1, self._item.amount // parts)
        self.amount = self._configured
        self._windows: dict[str, _Window] = {}
        self._shared = shared
        self._is_alone = False
        self._clock = clock

    def scale(self, share: float) -> None:
        """Let clients use a part of the configured rate, above 0 and up to 1; counters go on."""
        self._share = share
        self.amount = max(1, math.floor(self._configured * share))

    def text(self) -> str:
        """Return the present limit as slowapi reads it.

        slowapi names its counters after the limit, so it follows the share by tenths.
        """
        amount = self._configured * math.ceil(10 * self._share) // 10
        return f"{max(1, amount)}/{self._seconds} second"

    def take(self, client: str) -> None:
        """Count a request of a client. Raises `RateLimited` when it has used up its window."""
        now = self._clock()
        window = self._windows.get(client)
        if window is None or now >= window.until:
            window = self._windows[client] = self._begun(now)
        if window.used >= self.amount:
            raise RateLimited(
                f"More than {self.amount} requests in {self._seconds} s; try again later.",
                retry_after=window.until - now,
            )
        window.used += 1
        window.not_shared += 1

    def _begun(self, now: float) -> _Window:
        if len(self._windows) >= MOST_CLIENTS:
            self._forget(now)
        if self._shared is None:
            return _Window(now + self._seconds)
        return _Window((now // self._seconds + 1) * self._seconds)

    def _forget(self, now: float) -> None:
        self._windows = {name: kept for name, kept in self._windows.items() if now < kept.until}
        if len(self._windows) >= MOST_CLIENTS:  # more clients than that at once: all start again
            self._windows.clear()

    async def share(self) -> None:
        """Add what was counted here to the shared storage, and go on from the sums."""
        counted = {}
        for client, window in self._windows.items():
            if window.not_shared:
                counted[self._item.key_for(client, str(window.until))] = window, window.not_shared
                window.not_shared = 0
        amounts = {key: amount for key, (_, amount) in counted.items()}
        for key, total in (await asyncio.to_thread(self._exchange, amounts)).items():
            window = counted[key][0]
            window.used = total + window.not_shared

    def _exchange(self, amounts: dict[str, int]) -> dict[str, int]:
        """Return the sums by key; none, and the amounts are lost, while the storage is away."""
        assert self._shared is not None  # noqa: S101 # what is shared has a place
        try:
            sums = {
                key: self._shared.incr(key, self._seconds, amount=amount)
                for key, amount in amounts.items()
            }
        except self._shared.base_exceptions as exc:
            if not self._is_alone:
                logger.warning("rate limits are counted by each replica alone: %s", exc)
            self._is_alone = True
            return {}
        if sums:
            self._is_alone = False
        return sums

    async def keep_sharing(self) -> None:
        """Share the counts for ever, if there is a shared storage."""
        while self._shared is not None:
            await asyncio.sleep(SHARE_SECONDS)
            await self.share()


async def _answer_exceeded(request: Request, exc: Exception) -> Response:
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


def _is_internal(request: Request) -> bool:
    """Return whether one of our services asks; it has no limit."""
    return caller_of(request.scope) is Caller.INTERNAL


def connect_storage(settings: Settings) -> Storage | None:
    """Return the storage that replicas share: the Redis of the job store, if there is one.

    It is connected to when it is used.
    """
    if not settings.store_url.startswith(("redis://", "rediss://")):
        return None
    return storage_from_string(settings.store_url, **_SHARED_OPTIONS)  # type: ignore[return-value] # the URL is not an async one


def limit_routes(app: FastAPI, settings: Settings, rate: RateLimit) -> Decorator:
    """Return slowapi's decorator for routes of `app`, which share a limit for each client.

    It follows the rate of the predictions. While its Redis is away it counts in memory.
    """
    shared = connect_storage(settings) is not None
    limiter = Limiter(
        key_func=get_remote_address,
        storage_uri=settings.store_url if shared else None,
        storage_options=dict(_SHARED_OPTIONS) if shared else {},
        in_memory_fallback_enabled=shared,
    )
    logging.getLogger("slowapi").setLevel(logging.ERROR)  # else a line for each refusal
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, _answer_exceeded)
    decorator: Decorator = limiter.shared_limit(rate.text, scope="routes", exempt_when=_is_internal)
    return decorator
