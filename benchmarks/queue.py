"""Throughput and idle latency of the task queue beside others, on one RabbitMQ and one Redis.

    make bench-queue

Every queue publishes with confirms to durable queues, acks after the work and stores results in
the same Redis, with two worker processes. Bursts take turns between the queues, so that what the
machine does besides hits all of them; medians are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.machine import describe
from benchmarks.rivals.workers import Driver, running
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

QUEUES: Final = (
    "aimq quorum",
    "celery quorum",
    "celery classic",
    "dramatiq quorum",
    "dramatiq classic",
    "taskiq quorum",
    "taskiq classic",
)


@dataclass
class Figures:
    """What was measured of one queue, in seconds."""

    confirmed: list[float] = field(default_factory=list)
    stored: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    idle_published: list[float] = field(default_factory=list)


def study(names: Sequence[str], tasks: int, rounds: int, singles: int) -> dict[str, Figures]:
    """Measure the queues in turns."""
    figures = {name: Figures() for name in names}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(RabbitServer(schedulers=2))
        store = stack.enter_context(RedisServer(fsync="everysec"))
        drivers: dict[str, Driver] = {}
        for number, name in enumerate(names):
            drivers[name] = stack.enter_context(
                running(
                    name,
                    broker.add_vhost(f"v{number}"),
                    store.url.replace("/0", f"/{number}"),
                    folder / f"{name}.log",
                )
            )
            drivers[name].measure(20)  # until the workers are up
        for _ in range(rounds):
            for name, driver in drivers.items():
                burst = driver.measure(tasks)
                figures[name].confirmed.append(burst["confirmed"])
                figures[name].stored.append(burst["stored"])
        for _ in range(singles):
            for name, driver in drivers.items():
                single = driver.measure(1)
                figures[name].idle.append(single["stored"])
                figures[name].idle_published.append(single["published_to_stored"])
    return figures


def table(figures: dict[str, Figures], tasks: int) -> str:
    """Return the medians as a Markdown table."""
    lines = [
        "| queue | all confirmed | all results stored | tasks per second | one task, idle: submitted to stored p50 | published to stored p50 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, each in figures.items():
        confirmed, stored = statistics.median(each.confirmed), statistics.median(each.stored)
        lines.append(
            f"| {name} | {confirmed:.3f} s | {stored:.3f} s | {tasks / stored:,.0f} "
            f"| {statistics.median(each.idle) * 1000:.2f} ms "
            f"| {statistics.median(each.idle_published) * 1000:.2f} ms |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--singles", type=int, default=200)
    parser.add_argument("--queues", nargs="+", choices=QUEUES, default=list(QUEUES))
    options = parser.parse_args()
    figures = study(options.queues, options.tasks, options.rounds, options.singles)
    print(f"{options.tasks:,} tasks, {options.rounds} rounds in turns; {describe()}\n")
    print(table(figures, options.tasks))


if __name__ == "__main__":
    main()
