"""What the interface counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from aimq.errors import AimqError, Disconnected, TransientError


class Metrics:
    """The interface's metrics in a registry of their own. Thread-safe."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.uploads = Counter("aimq_uploads", "Uploads by outcome", ["outcome"], registry=registry)
        self.published = Counter(
            "aimq_messages_published", "Messages the broker confirmed", registry=registry
        )
        self.unconfirmed = Counter(
            "aimq_messages_unconfirmed",
            "Messages without a confirm in time, left to the sweep",
            registry=registry,
        )
        self.swept = Counter(
            "aimq_messages_swept", "Messages published by the sweep", registry=registry
        )
        self.expired = Counter("aimq_jobs_expired", "Jobs deleted at their age", registry=registry)
        self.orphans = Counter(
            "aimq_files_orphaned", "Files deleted that no job named", registry=registry
        )
        self.watchers = Gauge(
            "aimq_event_watchers", "WebSockets that watch a job", registry=registry
        )
        self.predict_seconds = Histogram(
            "aimq_predict_seconds",
            "Time of a single prediction, the ML service's included",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30),
            registry=registry,
        )
        self.predictions = Counter(
            "aimq_predictions", "Single predictions by status", ["status"], registry=registry
        )
        self.tasks = Counter(
            "aimq_tasks", "Tasks asked for, by kind and outcome", ["kind", "outcome"],
            registry=registry,
        )  # fmt: skip
        self.queue = Gauge(
            "aimq_queue_messages", "Messages by queue and state", ["queue", "state"],
            registry=registry,
        )  # fmt: skip
        self.up = Gauge(
            "aimq_dependency_up", "1 when it answers", ["dependency"], registry=registry
        )

    def count_prediction(self, status: int, seconds: float) -> None:
        """Count one single prediction."""
        self.predict_seconds.observe(seconds)
        self.predictions.labels(str(status)).inc()


@contextmanager
def counted(counter: Counter, *labels: str) -> Iterator[None]:
    """Count how a block ends: its last label is accepted, refused or unavailable."""
    outcome = "accepted"
    try:
        yield
    except Disconnected:
        outcome = ""
        raise
    except AimqError as exc:
        outcome = "unavailable" if isinstance(exc, TransientError) else "refused"
        raise
    finally:
        if outcome:
            counter.labels(*labels, outcome).inc()
