"""Requests per client and time: slowapi's counters, taken in blocks.

Asking slowapi's storage for every request would cost more than the prediction (in memory), or a
round trip (Redis). So a client's allowance is taken from it a block at a time, a fiftieth of the
limit, and spent here; what is left of a block lapses with its window. Replicas that share a Redis
thus share the limit to within a block each.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, cast

from limits import RateLimitItem, parse
from limits.strategies import RateLimiter
from slowapi import Limiter
from slowapi.util import get_remote_address
from starlette.requests import Request
from starlette.types import Scope

from aimq.errors import RateLimited, SettingsError

logger = logging.getLogger(__name__)

#: A block is the limit divided by this.
BLOCKS: Final = 50
#: Clients remembered at one time; beyond it those whose blocks have lapsed are forgotten.
MOST_CLIENTS: Final = 10_000
#: Longest waits for the shared storage, in seconds.
_REMOTE_OPTIONS: Final[dict[str, Any]] = {"socket_connect_timeout": 0.5, "socket_timeout": 1.0}
#: After a failure of the shared storage clients are counted here for so long, in seconds.
STORAGE_PAUSE: Final = 5.0


class ElasticLimit:
    """A rate limit whose amount may change while its counters go on.

    Stands in for `limits.RateLimitItem`, whose counters are named after the amount.
    """

    def __init__(self, parsed: RateLimitItem) -> None:
        self.configured = parsed.amount
        self.amount = parsed.amount
        self._seconds = parsed.get_expiry()

    def get_expiry(self) -> int:
        """Return the length of the window, in seconds."""
        return self._seconds

    def key_for(self, *identifiers: str) -> str:
        """Return the name of a client's counter."""
        return f"aimq/ml/{'/'.join(identifiers)}/{self._seconds}"

    def scale(self, share: float) -> None:
        """Set the amount to a part of the configured one; at least 1."""
        self.amount = max(1, math.floor(self.configured * share))


class _Lease:
    """A client's block. `left` may be below 0 while the storage is being asked."""

    __slots__ = ("asking", "left", "refused", "until")

    def __init__(self, left: int, until: float) -> None:
        self.left = left
        self.until = until
        self.refused = False
        self.asking = False


class ClientRates:
    """Limits each client, by address. Belongs to the event loop; never blocks it.

    Args:
        limit: as ``2000/second``.
        storage_url: ``redis://…`` to share the counters, or ``memory://``.
        threads: where a shared storage is asked.
        clock: monotonic seconds.

    Raises:
        SettingsError: the limit cannot be read.
    """

    def __init__(
        self,
        limit: str,
        storage_url: str,
        threads: Executor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            self.item = ElasticLimit(parse(limit))
        except ValueError as exc:
            raise SettingsError(f"AIMQ_RATE_LIMIT: {exc}; write it as 2000/second") from None
        self._remote = not storage_url.startswith("memory://")
        self._slowapi = Limiter(
            key_func=get_remote_address,
            storage_uri=storage_url,
            storage_options=dict(_REMOTE_OPTIONS) if self._remote else {},
        )
        self._here = self._slowapi.limiter
        if self._remote:
            self._here = Limiter(key_func=get_remote_address, storage_uri="memory://").limiter
        self._threads = threads
        self._clock = clock
        self._remote_from = 0.0
        self._leases: dict[str, _Lease] = {}

    def take(self, scope: Scope) -> None:
        """Count a request of a client. Raises `RateLimited` when it has used up its limit."""
        client = get_remote_address(Request(scope))
        now = self._clock()
        lease = self._leases.get(client)
        if lease is None or now >= lease.until:
            lease = self._renew(client, now)
        elif lease.left <= 0 and not lease.refused:
            self._extend(lease, client, now)
        elif self._remote and lease.left == self._block() // 2 and not lease.refused:
            self._extend(lease, client, now)  # early: the answer takes a round trip
        if lease.refused and lease.left <= 0:
            raise RateLimited(
                f"More than {self.item.amount} requests in {self.item.get_expiry()} s; "
                "try again later.",
                retry_after=max(lease.until - now, 0.001),
            )
        lease.left -= 1

    def _block(self) -> int:
        return max(1, self.item.amount // BLOCKS)

    def _renew(self, client: str, now: float) -> _Lease:
        if len(self._leases) >= MOST_CLIENTS:
            self._forget(now)
        lease = self._leases[client] = _Lease(0, now + self.item.get_expiry())
        self._extend(lease, client, now)
        return lease

    def _extend(self, lease: _Lease, client: str, now: float) -> None:
        """Ask for another block: at once where counters are here, in a thread where they are not.

        Until a thread has answered a client goes on, by one block at most.
        """
        block = self._block()
        if not self._remote or now < self._remote_from:
            self._granted(lease, block, self._hit(self._here, client, block))
        elif not lease.asking:
            lease.asking = True
            asked = asyncio.get_running_loop().run_in_executor(
                self._threads, self._hit, self._slowapi.limiter, client, block
            )
            asked.add_done_callback(partial(self._answered, lease, client, block))
        elif lease.left <= -block:
            lease.refused = True

    def _hit(self, limiter: RateLimiter, client: str, block: int) -> float:
        """Take a block from a storage; return 0, or the seconds until there may be another."""
        item = cast("RateLimitItem", self.item)
        if limiter.hit(item, client, cost=block):
            return 0.0
        reset = limiter.get_window_stats(item, client).reset_time
        return min(max(reset - time.time(), 0.001), float(item.get_expiry()))

    def _answered(
        self, lease: _Lease, client: str, block: int, asked: asyncio.Future[float]
    ) -> None:
        lease.asking = False
        lease.refused = False
        if asked.cancelled():
            return
        error = asked.exception()
        if error is None:
            self._granted(lease, block, asked.result())
            return
        now = self._clock()
        if now >= self._remote_from:
            logger.warning("rate limits are counted here for a while: %s", error)
        self._remote_from = now + STORAGE_PAUSE
        self._extend(lease, client, now)

    def _granted(self, lease: _Lease, block: int, wait: float) -> None:
        lease.refused = wait > 0
        if lease.refused:
            lease.until = self._clock() + wait
        else:
            lease.left += block

    def _forget(self, now: float) -> None:
        self._leases = {name: kept for name, kept in self._leases.items() if now < kept.until}
        if len(self._leases) >= MOST_CLIENTS:  # more clients than that at once: start afresh
            self._leases.clear()
