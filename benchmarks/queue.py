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
from benchmarks.plot import Axis, bars
from benchmarks.rivals.workers import Driver, running
from benchmarks.tables import markdown, put, write_csv
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
                    broker.new_vhost(),
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


def table(figures: dict[str, Figures], tasks: int) -> list[dict[str, object]]:
    """Return the medians, a row per queue."""
    return [
        {
            "queue": name,
            "all confirmed, s": round(statistics.median(each.confirmed), 3),
            "all stored, s": round(statistics.median(each.stored), 3),
            "fastest, s": round(min(each.stored), 3),
            "tasks per second": round(tasks / statistics.median(each.stored)),
            "idle: submit to stored, p50 ms": _ms(each.idle),
            "publish to stored, p50 ms": _ms(each.idle_published),
        }
        for name, each in figures.items()
    ]


def plot(rows: Sequence[dict[str, object]]) -> str:
    """Return the rates as bars."""
    rates = {
        str(row["queue"]): {"tasks per second": float(str(row["tasks per second"]))} for row in rows
    }
    title = "Confirmed, worked on and stored, two worker processes"
    return bars(title, Axis("tasks per second"), rates)


def verdict(rows: Sequence[dict[str, object]]) -> str:
    """Return how the first queue compares with the others, in words."""
    ours, *others = rows
    rate = float(str(ours["tasks per second"]))
    compared = ", ".join(
        f"{rate / float(str(row['tasks per second'])):.1f} times that of {row['queue']}"
        for row in others
    )
    return f"The rate of {ours['queue']} is {compared}." if others else ""


def _ms(seconds: Sequence[float]) -> float:
    return round(1000 * statistics.median(seconds), 2)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--singles", type=int, default=200)
    parser.add_argument("--queues", nargs="+", choices=QUEUES, default=list(QUEUES))
    parser.add_argument("--output", type=Path, default=Path("assets/plots"))
    parser.add_argument("--document", type=Path, default=Path("docs/queue-study.md"))
    options = parser.parse_args()
    figures = study(options.queues, options.tasks, options.rounds, options.singles)
    rows = table(figures, options.tasks)
    about = f"{options.tasks:,} tasks, {options.rounds} rounds in turns; {describe()}."
    put(options.document, "queue", f"{about}\n\n{markdown(rows)}\n\n{verdict(rows)}")
    options.output.mkdir(parents=True, exist_ok=True)
    write_csv(options.output / "queue.csv", rows)
    (options.output / "queue.svg").write_text(plot(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
