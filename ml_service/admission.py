"""Who is let in: credentials, the client's rate, and how much is under way.

Requests are best admitted as their headers arrive (`ml_service.front`). One that is admitted at its
endpoint counts to the end of the event loop's turn, even when it was answered in it: the requests
that one turn finds ready have been waiting for each other, and a request answered inline would
otherwise never be seen to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from aimq.errors import AimqError, Overloaded, RateLimited
from ml_service.access import Access
from ml_service.client_rates import ClientRates
from ml_service.limits import Aimd, Health

#: Seconds between two looks at the health.
LOOK_SECONDS: Final = 0.025
#: Seconds a client is asked to wait when load is shed.
RETRY_SECONDS: Final = 1.0
#: The part of the turns and latencies above which one counts as slow. Overload makes all of them
#: slow; a neighbour that takes the processor away, or one large request, only some.
_SLOW: Final = 0.75
#: Where a scope carries when it was admitted early.
_EARLY: Final = "aimq.entered"
#: Latencies remembered between two looks.
_REMEMBERED: Final = 4096


class Gate(Collector):
    """Admits requests. Belongs to the event loop; its gauges may be read from any thread."""

    def __init__(
        self,
        access: Access,
        rates: ClientRates,
        policy: Aimd,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._access = access
        self._rates = rates
        self._policy = policy
        self.limits = policy.start()
        self.health = Health(latency=0.0, lag=0.0, waiting=0)
        self._under_way = 0
        self._done = 0
        self._turn = 0.0
        self._last: asyncio.Task[Any] | None = None
        self._most_under_way = 0
        self._lags: list[float] = []
        self._latencies: list[float] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        registry.register(self)

    def enter_early(self, scope: Scope) -> None:
        """Admit a request before its task is started; its `enter` then lets it through.

        It counts until it leaves, and its time starts here: what one turn of the event loop
        finds ready is seen to wait for each other.
        """
        internal = self._access.check(scope)
        scope[_EARLY] = self._admit(scope, internal=internal)

    def enter(self, scope: Scope) -> float:
        """Admit a request; see `ml_service.endpoint.Admission`."""
        early: float = scope.get(_EARLY, 0.0)
        if early:
            return early
        internal = self._access.check(scope)
        if self._done and asyncio.current_task() is self._last:
            self._end_turn_of_one()
        return self._admit(scope, internal=internal)

    def _admit(self, scope: Scope, *, internal: bool) -> float:
        if self._under_way >= self.limits.concurrency:
            raise Overloaded(
                "More requests are under way than can be answered in time; try again later.",
                retry_after=RETRY_SECONDS,
            )
        if not internal:
            self._rates.take(scope)
        self._under_way += 1
        self._most_under_way = max(self._most_under_way, self._under_way)
        entered = self._clock()
        if not self._turn:
            self._turn = entered
            self._loop_of_this().call_soon(self._end_parsing)
        return entered

    def leave(
        self, scope: Scope, entered: float, *, quick: bool = True, at_once: bool = False
    ) -> float:
        """Count the request as done; see `ml_service.endpoint.Admission`."""
        seconds = self._clock() - entered
        if quick and len(self._latencies) < _REMEMBERED:
            self._latencies.append(seconds)
        if _EARLY in scope and not at_once:
            self._under_way -= 1
            return seconds
        self._done += 1
        if not at_once:
            self._last = asyncio.current_task()
        if not self._turn:
            self._turn = self._clock()
            self._loop_of_this().call_soon(self._end_parsing)
        return seconds

    def _end_turn_of_one(self) -> None:
        """Let go of a request whose task is back with the next: they do not wait for each other.

        A server starts a task for each request; a caller in this process may send them in turn.
        """
        self._under_way -= 1
        self._done -= 1
        if self._turn:
            self._turn = self._clock()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Do not count an admitted request as under way while it waits for, or is in, a thread."""
        self._under_way -= 1
        try:
            yield
        finally:
            self._under_way += 1

    def _end_parsing(self) -> None:
        """End the turn, unless the tasks of what was admitted in it are yet to have theirs."""
        if self._under_way > self._done:
            self._loop_of_this().call_soon(self._end_turn)
        else:
            self._end_turn()

    def _end_turn(self) -> None:
        self._lags.append(self._clock() - self._turn)
        self._turn = 0.0
        self._under_way -= self._done
        self._done = 0

    def _loop_of_this(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def headers(self, error: AimqError) -> dict[str, str]:
        """Return ``RateLimit-*`` for a request that was not let in.

        The fields of draft-polli-ratelimit-headers: the limit, what is left, seconds until anew.
        """
        if not isinstance(error, RateLimited | Overloaded):
            return {}
        wait = max(1, math.ceil(error.retry_after or RETRY_SECONDS))
        return {
            "RateLimit-Limit": str(self._rates.item.amount),
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": str(wait),
        }

    def look(self) -> None:
        """Let the limits follow what was seen since the last look."""
        self.health = Health(
            latency=_slow(self._latencies), lag=_slow(self._lags), waiting=self._most_under_way
        )
        self._latencies.clear()
        self._lags.clear()
        self._most_under_way = self._under_way
        self.limits = self._policy.next(self.limits, self.health)
        self._rates.item.scale(self.limits.share)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look regularly while the block runs."""

        async def forever() -> None:
            while True:
                due = self._clock() + LOOK_SECONDS
                await asyncio.sleep(LOOK_SECONDS)
                self._lags.append(self._clock() - due)
                self.look()

        task = asyncio.get_running_loop().create_task(forever())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def collect(self) -> Iterable[Metric]:
        """Return the gauges; called at each scrape."""
        bound = self.limits.concurrency
        for name, text, value in (
            ("rate_limit", "Requests per window a client may send.", self._rates.item.amount),
            ("concurrency_bound", "Most requests under way at one time.", bound),
            ("under_way", "Requests under way.", self._under_way),
            ("loop_lag_seconds", "Slow turns of the event loop lately.", self.health.lag),
            ("quick_latency_seconds", "Slow quick answers lately.", self.health.latency),
        ):
            yield GaugeMetricFamily(f"aimq_ml_{name}", text, value=value)


def _slow(seconds: list[float]) -> float:
    if not seconds:
        return 0.0
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * _SLOW))]
