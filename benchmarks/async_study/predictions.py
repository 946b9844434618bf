"""1,000 asynchronous predictions over HTTP: ours, and through FastAPI and Celery."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from benchmarks.async_study.clients import ask, get, post
from benchmarks.async_study.stage import Servers, Stage
from benchmarks.rivals.contender import RECORD, payload
from benchmarks.rivals.workers import web
from tests.system import free_ports

CLIENTS: Final = 50
_LOOK_SECONDS: Final = 0.002
_PATIENCE: Final = 120.0
OURS: Final = "aimq"
RIVAL: Final = "FastAPI + Celery"


@dataclass(frozen=True)
class Contestant:
    """A way to have predictions made asynchronously.

    Attributes:
        stored: returns how many results are stored.
    """

    name: str
    url: str
    stored: Callable[[], int]


@contextlib.contextmanager
def contestants(stage: Stage, used: Servers, log: Path) -> Iterator[list[Contestant]]:
    """Run the rival beside ours, with the same RabbitMQ, Redis and ML service."""
    assert used.broker is not None
    assert used.store is not None
    ours = redis.Redis.from_url(stage.system.environ["AIMQ_STORE_URL"])
    store_url = used.store.url.replace("/0", "/15")
    theirs = redis.Redis.from_url(store_url)
    (port,) = free_ports(1)
    broker_url = used.broker.new_vhost()
    with web(broker_url, store_url, stage.system.ml_url, port, log) as url:
        both = [
            Contestant(OURS, stage.system.url, lambda: int(ours.zcard("aimq:status:done"))),
            Contestant(RIVAL, url, lambda: int(theirs.dbsize())),
        ]
        for contestant in both:
            _until_up(contestant)
            burst(contestant, 50)
        yield both


def burst(contestant: Contestant, tasks: int) -> tuple[float, float]:
    """Return seconds until `tasks` predictions were accepted, and until all were stored."""
    wanted = contestant.stored() + tasks
    request = post(contestant.url, "/predict/async", payload())
    began = time.perf_counter()
    answers = ask(contestant.url, [request] * tasks, CLIENTS)
    if len(answers.bodies) != tasks:
        raise RuntimeError(f"{contestant.name} accepted {len(answers.bodies)} of {tasks}")
    while contestant.stored() < wanted:
        if time.perf_counter() - began > _PATIENCE:
            raise TimeoutError(f"{contestant.name}: results are missing after {_PATIENCE:g} s")
        time.sleep(_LOOK_SECONDS)
    return answers.seconds, time.perf_counter() - began


def single(contestant: Contestant, count: int) -> list[float]:
    """Return seconds from POST to result seen, one prediction at a time on an idle system."""
    return asyncio.run(_single(contestant.url, count))


async def _single(url: str, count: int) -> list[float]:
    times = []
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def say(request: bytes) -> dict[str, object]:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        at = head.index(b"content-length:") + 15
        answer: dict[str, object] = json.loads(
            await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        )
        return answer

    for _ in range(count):
        began = time.perf_counter()
        task = await say(post(url, "/predict/async", json.dumps(RECORD).encode()))
        asked = get(url, f"/results/{task['task_id']}")
        while (await say(asked))["status"] != "done":  # noqa: ASYNC110 # of another process
            await asyncio.sleep(0.0002)
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)  # idle again
    writer.close()
    return times


def _until_up(contestant: Contestant) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            burst(contestant, 1)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return
