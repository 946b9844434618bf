"""From stored result to WebSocket message, with many watchers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

import websockets

from benchmarks.async_study.clients import ask, get
from benchmarks.async_study.stage import Stage

#: Quick tasks, so that many end in a short time; and some long ones that hold them up at first.
_NO, _NO_AHEAD = 300, 60_000


def push(stage: Stage, watchers: int, *, shared: bool) -> list[float]:
    """Return seconds from stored result to message, one per watcher.

    Args:
        shared: all watch one task; else each a task of its own.
    """
    return asyncio.run(_push(stage, watchers, shared=shared))


async def _push(stage: Stage, watchers: int, *, shared: bool) -> list[float]:
    url = stage.system.url
    tasks = 1 if shared else watchers
    await ask(url, [get(url, f"/factorial?no={_NO_AHEAD}")] * 8, 8)
    answers = await ask(url, [get(url, f"/factorial?no={_NO}")] * tasks, min(tasks, 50))
    ids = [json.loads(body)["request_id"] for body in answers.bodies]
    watched = ids * watchers if shared else ids
    times = await asyncio.gather(*(_watch(url, job_id) for job_id in watched))
    jobs = dict(zip(ids, await asyncio.to_thread(stage.finish, ids), strict=True))
    return _delays(
        [
            (jobs[job_id].finished_at.timestamp(), seen)
            for job_id, seen in zip(watched, times, strict=True)
            if seen is not None
        ]
    )


async def _watch(url: str, job_id: str) -> float | None:
    """Return the time of day of the final message; None when it was the first one."""
    address = f"{url.replace('http', 'ws', 1)}/results/{job_id}/events"
    messages = 0
    async with websockets.connect(address, open_timeout=30, compression=None) as socket:
        async for message in socket:
            seen = time.time()
            messages += 1
            if json.loads(message)["status"] in {"done", "failed"}:
                return seen if messages > 1 else None
    raise RuntimeError("a WebSocket ended without a final status")


def _delays(pairs: Sequence[tuple[float, float]]) -> list[float]:
    return [max(0.0, seen - stored) for stored, seen in pairs]
