"""Which requests are worked on: as many as the event loop serves in time.

Requests in flight are counted once their body is there. The lag of the event loop is sampled forty
times a second. The limit of requests in flight, and the rate of each client, follow the two by
additive increase and multiplicative decrease (`ml_service.aimd`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from aimq.errors import AimqError, Overloaded, RateLimited
from aimq.http.credentials import Caller
from aimq.http.guard import caller_of
from ml_service.aimd import Aimd, Health
from ml_service.rate_limit import RateLimit, limit_headers

#: Seconds between two samples of the lag.
SAMPLE_SECONDS: Final = 0.025
#: Seconds a client is asked to wait when load is shed.
RETRY_SECONDS: Final = 1.0


class Admission(Collector):
    """Admits requests. Belongs to the event loop; its gauges may be read from any thread.

    A request is in flight inside ``async with admission``.
    """

    def __init__(self, rate: RateLimit, policy: Aimd, registry: CollectorRegistry) -> None:
        self._rate = rate
        self._policy = policy
        self.limits = policy.start
        self.health = Health(lag=0.0, in_flight=0)
        self.in_flight = 0
        self._most_in_flight = 0
        registry.register(self)

    def check(self, scope: Scope) -> None:
        """Count a request against its client's rate, before its body is read.

        Raises:
            Overloaded: too much is in flight.
            RateLimited: this client asks too often. Our own services have no limit.
        """
        self._check_in_flight()
        if caller_of(scope) is not Caller.INTERNAL:
            self._rate.take(client_address(scope))

    async def __aenter__(self) -> None:
        """Count a request as in flight, and let all that arrived with it be counted or refused.

        Raises:
            Overloaded: too much is in flight.
        """
        self._check_in_flight()
        self.in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)
        except BaseException:
            self.in_flight -= 1
            raise

    async def __aexit__(self, *exc: object) -> None:
        """Count the request as done."""
        self.in_flight -= 1

    def _check_in_flight(self) -> None:
        if self.in_flight >= self.limits.in_flight:
            raise Overloaded(
                "More requests are under way than can be answered in time; try again later.",
                retry_after=RETRY_SECONDS,
            )

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Do not count a request while it waits for, or runs in, a thread of a bounded pool."""
        self.in_flight -= 1
        try:
            yield
        finally:
            self.in_flight += 1

    def headers(self, error: AimqError) -> dict[str, str]:
        """Return the headers that tell a refused client the limit of its rate."""
        if not isinstance(error, RateLimited | Overloaded):
            return {}
        return limit_headers(self._rate.amount, error.retry_after or RETRY_SECONDS)

    def adjust(self, lag: float) -> None:
        """Let the limits follow the lag and what was in flight since the last sample."""
        self.health = Health(lag=lag, in_flight=self._most_in_flight)
        self._most_in_flight = self.in_flight
        self.limits = self._policy.next(self.limits, self.health)
        self._rate.scale(self.limits.share)

    async def follow_load(self) -> None:
        """Sample and adjust for ever."""
        while True:
            due = time.perf_counter() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            self.adjust(time.perf_counter() - due)

    def collect(self) -> Iterable[Metric]:
        """Return the gauges; called at each scrape."""
        for name, text, value in (
            ("rate_limit", "Requests per window a client may send.", self._rate.amount),
            ("concurrency_bound", "Most requests in flight at one time.", self.limits.in_flight),
            ("under_way", "Requests in flight.", self.in_flight),
            ("loop_lag_seconds", "Lag of the event loop at the last sample.", self.health.lag),
        ):
            yield GaugeMetricFamily(f"aimq_ml_{name}", text, value=value)


def client_address(scope: Scope) -> str:
    """Return the address of the client; "" where the server knows none."""
    client = scope.get("client")
    return str(client[0]) if client else ""
