"""Counts of requests, cheap enough to be kept for every one of them.

Plain numbers are counted on the event loop and turned into Prometheus samples when they are asked
for: a labelled `prometheus_client` histogram costs as much as a prediction.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from ml_service.version import Version

#: Upper bounds of the latency buckets, in seconds.
BUCKETS: Final = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


class RequestStats:
    """Counts of one route. Belongs to the event loop."""

    def __init__(self, route: str) -> None:
        self.route = route
        self.statuses: Counter[int] = Counter()
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def answered(self, status: int, seconds: float) -> None:
        """Count an answer and how long it took."""
        self.statuses[status] += 1
        self.buckets[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds

    def refused(self, status: int) -> None:
        """Count an answer that was given before any work; it does not enter the latencies."""
        self.statuses[status] += 1


class ServiceMetrics(Collector):
    """Everything this service counts itself. Registers itself.

    Args:
        registry: where the samples are collected from.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._elsewhere = RequestStats("other")
        self._by_path = {"": self._elsewhere}
        self.rows: Counter[tuple[str, str, str]] = Counter()
        self.warnings: Counter[tuple[str, str]] = Counter()
        registry.register(self)

    def route(self, route: str) -> RequestStats:
        """Return the counts of a route, which are exported from now on."""
        return self._by_path.setdefault(route, RequestStats(route))

    def refused(self, scope: Scope, status: int) -> None:
        """Count an answer that was given before any route was asked."""
        self._by_path.get(scope["path"], self._elsewhere).refused(status)

    def predicted(self, endpoint: str, model: str, rows: Mapping[str, int]) -> None:
        """Count rows of a model that have got a prediction, by the runtime that answered."""
        for runtime, count in rows.items():
            self.rows[endpoint, runtime, model] += count

    def warned(self, version: Version, rows: int) -> None:
        """Count rows whose answers carry a warning."""
        if rows:
            self.warnings[version.manifest.name, version.name] += rows

    def collect(self) -> Iterable[Metric]:
        """Return the samples; called at each scrape."""
        requests = CounterMetricFamily(
            "aimq_ml_requests", "Requests answered.", labels=["route", "status"]
        )
        latency = HistogramMetricFamily(
            "aimq_ml_request_seconds", "Time to answer admitted requests.", labels=["route"]
        )
        rows = CounterMetricFamily(
            "aimq_ml_rows", "Rows predicted.", labels=["endpoint", "runtime", "model"]
        )
        for stats in self._by_path.values():
            for status, count in stats.statuses.items():
                requests.add_metric([stats.route, str(status)], count)
            latency.add_metric([stats.route], _cumulative(stats.buckets), stats.seconds)
        for labels, count in self.rows.items():
            rows.add_metric(labels, count)
        warnings = CounterMetricFamily(
            "aimq_ml_warnings", "Rows predicted with a warning.", labels=["model", "version"]
        )
        for names, count in self.warnings.items():
            warnings.add_metric(names, count)
        return [requests, latency, rows, warnings]


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    total, out = 0, []
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), buckets, strict=True):
        total += count
        out.append((bound, float(total)))
    return out
