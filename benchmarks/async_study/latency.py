"""First response and time to result by number of clients, synchronous and asynchronous."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.async_study.clients import Answers, ask, get
from benchmarks.async_study.stage import Stage, percentile

CLIENTS: Final = (1, 10, 50, 100, 200, 500)
NO: Final = 20_000
#: Requests at least, so that few clients give a percentile, too.
_LEAST: Final = 100
#: Tasks queued beforehand, so that both workers are busy from the first request on.
_AHEAD: Final = 4
#: Until what is left to do of one round is not timed as the next one's: messages of tasks that
#: were answered before they were published, closed connections.
_PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Row:
    """One measurement; times in milliseconds."""

    endpoint: str
    clients: int
    requests: int
    first_p50: float
    first_p95: float
    first_p99: float
    result_p50: float
    result_p95: float
    errors: int
    timeouts: int


def study(stage: Stage, clients: Iterable[int] = CLIENTS) -> list[Row]:
    """Measure both endpoints at every number of clients, in turns."""
    rows = []
    for count in clients:
        requests = max(_LEAST, count)
        rows.append(synchronous(stage, count, requests))
        rows.append(asynchronous(stage, count, requests))
    return rows


def medians(rows: Sequence[Row]) -> Row:
    """Return the median of each figure of several rounds; errors and timeouts are added up."""

    def over(name: str) -> float:
        return float(statistics.median(getattr(row, name) for row in rows))

    first = rows[0]
    return Row(
        first.endpoint, first.clients, sum(row.requests for row in rows),
        over("first_p50"), over("first_p95"), over("first_p99"),
        over("result_p50"), over("result_p95"),
        sum(row.errors for row in rows), sum(row.timeouts for row in rows),
    )  # fmt: skip


def saturated(stage: Stage, clients: Sequence[int], rounds: int) -> list[dict[str, object]]:
    """First responses of the asynchronous endpoint with a backlog that only grows, repeated.

    Nothing is waited for but the answers, so that many rounds fit: medians of their percentiles.
    """
    url = stage.system.url
    request = get(url, f"/factorial?no={NO}")
    ask(url, [request] * 2 * _AHEAD, _AHEAD)
    found: dict[int, list[Answers]] = {count: [] for count in clients}
    for _ in range(rounds):
        for count in clients:
            asked = [request] * max(_LEAST, count)
            time.sleep(_PAUSE_SECONDS)
            found[count].append(ask(url, asked, count))
    return [
        {
            "clients": count,
            "requests": sum(len(each.latencies) for each in runs),
            **{
                f"p{percent} ms": round(
                    1000 * statistics.median(percentile(r.latencies, percent) for r in runs), 2
                )
                for percent in (50, 95, 99)
            },
            "best p99 ms": round(1000 * min(percentile(r.latencies, 99) for r in runs), 2),
            "errors": sum(each.errors + each.timeouts for each in runs),
        }
        for count, runs in found.items()
    ]


def synchronous(stage: Stage, clients: int, requests: int) -> Row:
    """The endpoint that computes while the client waits: the first response is the result."""
    url = stage.system.url
    asked = [get(url, f"/factorial/sync?no={NO}&preview=true")] * requests
    answers = ask(url, asked, clients)
    return _row("synchronous", clients, answers, answers.latencies)


def asynchronous(stage: Stage, clients: int, requests: int) -> Row:
    """The endpoint that queues; results are timed by the job's own record."""
    url = stage.system.url
    request = get(url, f"/factorial?no={NO}")
    ahead = ask(url, [request] * _AHEAD, 1)
    answers = ask(url, [request] * requests, clients)
    ids = [json.loads(body)["request_id"] for body in ahead.bodies + answers.bodies]
    jobs = stage.finish(ids)[_AHEAD:]
    took = [(job.finished_at - job.created_at).total_seconds() for job in jobs if job.finished_at]
    failed = sum(job.status != "done" for job in jobs)
    return _row("asynchronous", clients, answers, took, failed)


def _row(
    endpoint: str, clients: int, answers: Answers, results: Sequence[float], failed: int = 0
) -> Row:
    def ms(values: Sequence[float], percent: float) -> float:
        return round(1000 * percentile(values, percent), 2)

    first = answers.latencies
    return Row(
        endpoint, clients, len(first) + answers.errors + answers.timeouts,
        ms(first, 50), ms(first, 95), ms(first, 99), ms(results, 50), ms(results, 95),
        answers.errors + failed, answers.timeouts,
    )  # fmt: skip
