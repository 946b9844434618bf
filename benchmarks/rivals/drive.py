"""Submits tasks on command: reads counts from standard input, answers each with timings.

    python -m benchmarks.rivals.drive celery

Answers with seconds: until the broker had ``confirmed`` all tasks and until all results were
``stored`` in Redis (seen from outside, by a count, in the same way for every queue), both since the
submitting began; and the latter since the publishing began, ``published_to_stored``.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Final

import redis

from benchmarks.rivals.contender import Contender, urls

#: Pause between two looks at Redis, in seconds: after one task, and after many.
_LOOK_ONE: Final = 0.0001
_LOOK_MANY: Final = 0.001
_PATIENCE: Final = 60.0


def measure(contender: Contender, client: redis.Redis, count: int) -> dict[str, float]:
    """Submit `count` tasks and wait for their results."""
    wanted = int(client.execute_command(*contender.results)) + count
    pause = _LOOK_ONE if count == 1 else _LOOK_MANY
    began = time.perf_counter()
    publishing = contender.submit(count)
    confirmed = time.perf_counter()
    while int(client.execute_command(*contender.results)) < wanted:
        if time.perf_counter() - began > _PATIENCE:
            raise TimeoutError(f"results are missing after {_PATIENCE:g} s")
        time.sleep(pause)
    stored = time.perf_counter()
    return {
        "confirmed": confirmed - began,
        "stored": stored - began,
        "published_to_stored": stored - publishing,
    }


def load(name: str) -> Contender:
    """Return a task queue by its name."""
    if name == "aimq":
        return importlib.import_module("benchmarks.rivals.ours").make()
    return importlib.import_module(f"benchmarks.rivals.{name}_queue").contender


def main() -> None:
    """Serve standard input."""
    contender = load(sys.argv[1])
    client = redis.Redis.from_url(urls()[1])
    for line in sys.stdin:
        print(json.dumps(measure(contender, client, int(line))), flush=True)


if __name__ == "__main__":
    main()
