"""Predicts waiting times for an arrival rate and a number of workers, to plan capacity with.

    make bench-capacity

A discrete-event simulation of one queue in order of arrival with any number of equal workers, for
any distributions of the times between arrivals and of the work. For Poisson arrivals and
exponential work there are closed forms (Erlang, "Solution of some problems in the theory of
probabilities of significance in automatic telephone exchanges", 1917; Kleinrock, "Queueing
Systems", volume 1, 1975), which the simulation is tested against; for fixed work there are none
that are as simple, which is what the simulation is for.

All times are in seconds, all rates per second. Pure; random numbers come from the given source.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

#: Draws a duration.
Draw = Callable[[], float]


@dataclass(frozen=True)
class Waits:
    """How long tasks waited for a worker, and how busy the workers were.

    Attributes:
        busy: fraction of the workers' time spent working.
    """

    mean: float
    p50: float
    p95: float
    p99: float
    longest: float
    busy: float


def exponential(rate: float, source: random.Random) -> Draw:
    """Return draws with mean ``1 / rate``: what comes at random (a Poisson process)."""
    return lambda: source.expovariate(rate)


def fixed(seconds: float) -> Draw:
    """Return always the same duration."""
    return lambda: seconds


def arrivals(gap: Draw) -> Iterator[float]:
    """Return arrival times, for ever."""
    at = 0.0
    while True:
        at += gap()
        yield at


def simulate(arrived: Iterable[float], work: Draw, workers: int) -> list[tuple[float, float]]:
    """Return waiting time and end of each task, in order of arrival.

    Each task goes to the worker that is free first: the heap holds when each will be.
    """
    free = [0.0] * workers
    tasks = []
    for at in arrived:
        start = max(at, free[0])
        end = start + work()
        heapq.heapreplace(free, end)
        tasks.append((start - at, end))
    return tasks


def predict(gap: Draw, work: Draw, workers: int, tasks: int, warm_up: int = 0) -> Waits:
    """Simulate so many tasks and sum their waits up, without the first `warm_up`."""
    worked = 0.0

    def counted() -> float:
        nonlocal worked
        seconds = work()
        worked += seconds
        return seconds

    done = simulate(islice(arrivals(gap), tasks + warm_up), counted, workers)
    return summary([wait for wait, _ in done[warm_up:]], worked / (workers * _end(done)))


def _end(done: Sequence[tuple[float, float]]) -> float:
    return max(end for _, end in done)


def summary(waits: Sequence[float], busy: float) -> Waits:
    """Return mean and percentiles (nearest rank) of waiting times."""
    ordered = sorted(waits)

    def at(percent: float) -> float:
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    return Waits(math.fsum(ordered) / len(ordered), at(50), at(95), at(99), ordered[-1], busy)


def erlang_c(offered: float, workers: int) -> float:
    """Return the probability that a task has to wait (Erlang's C formula).

    Args:
        offered: arrival rate times mean work, in workers' worth; below `workers`.
    """
    blocked = 1.0  # Erlang's B formula, by its recurrence: stable for any number of workers
    for count in range(1, workers + 1):
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - offered / workers * (1 - blocked))


def mean_wait(arrival_rate: float, work: float, workers: int) -> float:
    """Return the mean wait with exponential work; infinite when the workers cannot keep up."""
    offered = arrival_rate * work
    if offered >= workers:
        return math.inf
    return erlang_c(offered, workers) * work / (workers - offered)


def wait_percentile(arrival_rate: float, work: float, workers: int, percent: float) -> float:
    """Return a percentile of the wait with exponential work."""
    offered = arrival_rate * work
    if offered >= workers:
        return math.inf
    beyond = 1 - percent / 100
    waiting = erlang_c(offered, workers)
    return 0.0 if waiting <= beyond else math.log(waiting / beyond) * work / (workers - offered)


def workers_needed(arrival_rate: float, work: float, percent: float, limit: float) -> int:
    """Return the fewest workers with which that percentile of the wait is within `limit`."""
    workers = math.floor(arrival_rate * work) + 1
    while wait_percentile(arrival_rate, work, workers, percent) > limit:
        workers += 1
    return workers
