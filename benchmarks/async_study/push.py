"""From stored result to WebSocket message, with many watchers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from benchmarks.async_study.clients import ask, get
from benchmarks.async_study.stage import Stage
from benchmarks.async_study.watchers import watch

#: Quick tasks, so that many end in a short time; and some long ones that hold them up at first.
_NO, _NO_AHEAD = 300, 60_000


def push(stage: Stage, watchers: int, *, shared: bool) -> list[float]:
    """Return seconds from stored result to message, one per watcher.

    Args:
        shared: all watch one task; else each a task of its own.
    """
    url = stage.system.url
    tasks = 1 if shared else watchers
    ask(url, [get(url, f"/factorial?no={_NO_AHEAD}")] * 8, 8)
    answers = ask(url, [get(url, f"/factorial?no={_NO}")] * tasks, min(tasks, 50))
    ids = [json.loads(body)["request_id"] for body in answers.bodies]
    return asyncio.run(_watched(stage, ids, ids * watchers if shared else ids))


async def _watched(stage: Stage, ids: list[str], watched: list[str]) -> list[float]:
    url = stage.system.url
    sockets = await watch(url, [f"/results/{job_id}/events" for job_id in watched])
    jobs = dict(zip(ids, await asyncio.to_thread(stage.finish, ids), strict=True))
    ends = [socket.final_message() for socket in sockets]
    return _delays(
        [
            (jobs[job_id].finished_at.timestamp(), seen)
            for job_id, (seen, messages) in zip(watched, ends, strict=True)
            if messages > 1  # the first message is the state as it was, not one that was pushed
        ]
    )


def _delays(pairs: Sequence[tuple[float, float]]) -> list[float]:
    return [max(0.0, seen - stored) for stored, seen in pairs]
