"""Checks the capacity model against a measured run, then plans for a thousand times its load.

    make bench-capacity

Tasks of the factorial workload arrive at random (Poisson, seeded) at two workers of the running
system. How long each waited and took is in its record. The simulation is given the rate and the
durations seen in a calibration run before, and has to predict the waits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from aimq.jobs.job import Job
from benchmarks import load
from benchmarks.async_study.clients import ask, get
from benchmarks.async_study.stage import Stage, servers, stage
from benchmarks.capacity import Waits, arrivals, exponential, predict, summary, workers_needed
from benchmarks.machine import describe
from benchmarks.tables import markdown, put, write_csv

_WORKERS: Final = 2
_CLIENTS: Final = 16
_THOUSAND: Final = 1000
#: What is planned for: so many percent of tasks begin within so many seconds.
_PERCENT: Final = 99.0
_LIMIT: Final = 1.0


def calibrate(on_stage: Stage, no: int, tasks: int) -> list[float]:
    """Return seconds of work of tasks done with all workers busy."""
    url = on_stage.system.url
    bodies = ask(url, [get(url, f"/factorial?no={no}")] * tasks, _CLIENTS).bodies
    return [_work(job) for job in _finished(on_stage, bodies)]


def measure(on_stage: Stage, no: int, times: Sequence[float]) -> list[Job]:
    """Submit a task at each of `times` (seconds from now) and return the finished jobs."""
    return _finished(on_stage, asyncio.run(_submit(on_stage.system.url, no, times)))


async def _submit(url: str, no: int, times: Sequence[float]) -> list[bytes]:
    loop = asyncio.get_running_loop()
    request = get(url, f"/factorial?no={no}")
    began = loop.time()

    async def at(seconds: float) -> bytes:
        await asyncio.sleep(max(0.0, began + seconds - loop.time()))
        outcome = await load.run(url, [request], total=1, keep_bodies=True)
        return outcome.bodies[0]

    return list(await asyncio.gather(*(at(seconds) for seconds in times)))


def _finished(on_stage: Stage, bodies: Sequence[bytes]) -> list[Job]:
    return on_stage.finish([json.loads(body)["request_id"] for body in bodies])


def _work(job: Job) -> float:
    assert job.started_at is not None
    assert job.finished_at is not None
    return (job.finished_at - job.started_at).total_seconds()


def _wait(job: Job) -> float:
    assert job.started_at is not None
    return (job.started_at - job.created_at).total_seconds()


def _row(name: str, waits: Waits) -> dict[str, object]:
    return {
        "": name,
        "mean ms": round(1000 * waits.mean, 1),
        "p50 ms": round(1000 * waits.p50, 1),
        "p95 ms": round(1000 * waits.p95, 1),
        "p99 ms": round(1000 * waits.p99, 1),
        "workers busy": f"{waits.busy:.0%}",
    }


def compare(
    on_stage: Stage, no: int, load: float, tasks: int, seed: int
) -> list[dict[str, object]]:
    """Predict one run, measure it, and return both."""
    work = calibrate(on_stage, no, 60)
    rate = load * _WORKERS / statistics.mean(work)
    source = random.Random(seed)
    predicted = predict(
        exponential(rate, source), lambda: source.choice(work), _WORKERS, 100_000, warm_up=5_000
    )
    times = list(islice(arrivals(exponential(rate, random.Random(seed))), tasks))
    jobs = measure(on_stage, no, times)
    took = [_work(job) for job in jobs]
    ends = [job.finished_at for job in jobs if job.finished_at]
    span = (max(ends) - min(job.created_at for job in jobs)).total_seconds()
    measured = summary([_wait(job) for job in jobs], sum(took) / (_WORKERS * span))
    again = predict(
        exponential(rate, source), lambda: source.choice(took), _WORKERS, 100_000, warm_up=5_000
    )
    name = f"{rate:.1f} tasks/s of {1000 * statistics.mean(work):.0f} ms"
    return [
        _row(f"{name}: predicted", predicted),
        _row(f"{name}: measured, {tasks} tasks", measured),
        _row(f"{name}: predicted from the durations of that run", again),
    ]


def plan(work: float, rate: float) -> list[dict[str, object]]:
    """Return the workers needed for a load and for up to a thousand times it."""
    rows = []
    for times in (1, 10, 100, _THOUSAND):
        workers = workers_needed(times * rate, work, _PERCENT, _LIMIT)
        rows.append({
            "load": f"{times:,} ×",
            "tasks per second": round(times * rate, 1),
            "workers": workers,
            "busy": f"{times * rate * work / workers:.0%}",
        })  # fmt: skip
    return rows


def main() -> None:
    """Run the check and print the plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--output", type=Path, default=Path("assets/plots"))
    parser.add_argument("--no", type=int, default=20_000)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.3, 0.5, 0.7])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--document", type=Path, default=Path("docs/operations.md"))
    options = parser.parse_args()
    with servers() as used, stage(used, 1, options.models.absolute(), workers=_WORKERS) as found:
        calibrate(found, options.no, 10)
        rows = [
            row
            for load in options.loads
            for row in compare(found, options.no, load, options.tasks, options.seed)
        ]
        work = statistics.mean(calibrate(found, options.no, 60))
    options.output.mkdir(parents=True, exist_ok=True)
    write_csv(options.output / "capacity.csv", rows)
    about = f"Waits for one of {_WORKERS} workers, no={options.no:,}; {describe()}."
    put(options.document, "capacity", f"{about}\n\n{markdown(rows)}")
    rate = 0.7 * _WORKERS / work
    about = (
        f"Workers with {1000 * work:.0f} ms of work a task, so that {_PERCENT:g} % begin within "
        f"{_LIMIT:g} s (exponential work: on the safe side)."
    )
    put(options.document, "plan", f"{about}\n\n{markdown(plan(work, rate))}")


if __name__ == "__main__":
    main()
