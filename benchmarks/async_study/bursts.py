"""100 tasks at once: how soon all are accepted, and done, by number of workers."""

from __future__ import annotations

import json
from dataclasses import dataclass

from benchmarks.async_study.clients import ask, get
from benchmarks.async_study.latency import NO
from benchmarks.async_study.stage import Stage


@dataclass(frozen=True)
class Burst:
    """One burst, in seconds since the first request."""

    workers: int
    tasks: int
    accepted: float
    done: float


def burst(stage: Stage, workers: int, tasks: int = 100) -> Burst:
    """Submit `tasks` tasks from as many clients at once."""
    url = stage.system.url
    request = get(url, f"/factorial?no={NO}")
    stage.finish(_ids(ask(url, [request] * 2 * workers, 2 * workers).bodies))  # warm
    answers = ask(url, [request] * tasks, tasks)
    if len(answers.bodies) != tasks:
        raise RuntimeError(f"{tasks - len(answers.bodies)} of {tasks} tasks were not accepted")
    jobs = stage.finish(_ids(answers.bodies))
    first = min(job.created_at for job in jobs)
    last = max(job.finished_at for job in jobs if job.finished_at)
    done = (last - first).total_seconds()
    return Burst(workers, tasks, round(answers.seconds, 3), round(done, 2))


def _ids(bodies: list[bytes]) -> list[str]:
    return [json.loads(body)["request_id"] for body in bodies]
