"""Memory that Redis takes per job, by kind: from its record to its place in the indexes.

python -m benchmarks.redis_memory
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Final

import msgspec
import redis

from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, JobStore, Outcome
from aimq.messages import Kind
from aimq.settings import load_settings
from benchmarks.rivals.contender import payload, trivial
from benchmarks.tables import markdown
from tests.servers.redis import RedisServer

_JOBS: Final = 5_000
_BULK: Final = 500

MakeJob = Callable[[], Job]

#: What is measured: how a job begins, and the result it ends with.
_KINDS: Final[dict[str, tuple[MakeJob, bytes]]] = {
    "spreadsheet (its files are elsewhere)": (
        lambda: Job(kind=Kind.SPREADSHEET, filename="cars of march.xlsx"),
        b"",
    ),
    "prediction of twelve fields": (
        lambda: Job(kind=Kind.PREDICTION, input=payload()),
        msgspec.json.encode({**trivial({"model_group": "A"}), "model_version": "20260101T000000Z"}),
    ),
    "factorial with a result of 10,000 digits": (
        lambda: Job(kind=Kind.FACTORIAL, input=b'{"no":3249}'),
        msgspec.json.encode({"digits": 10_000, "preview": "1" * 60, "output": "1" * 10_000}),
    ),
}


def per_job(store: JobStore, server: redis.Redis, make: MakeJob, result: bytes) -> int:
    """Return bytes per finished job."""
    server.flushall()
    before = int(server.info("memory")["used_memory"])
    for _ in range(_JOBS // _BULK):
        ids = [job.job_id for job in store.create([make() for _ in range(_BULK)])]
        claims = store.claim(ids, "benchmark:1", 10.0)
        store.settle(
            [
                Outcome(claim=claim, status=Status.DONE, result=result)
                for claim in claims
                if isinstance(claim, Claim)
            ]
        )
    return (int(server.info("memory")["used_memory"]) - before) // _JOBS


def main() -> None:
    """Measure and print."""
    with RedisServer(fsync="everysec") as server:
        settings = load_settings(store_url=server.url)
        client = redis.Redis.from_url(server.url)
        with closing(connect_store(settings)) as store:
            rows = [
                {"job": name, "bytes": per_job(store, client, make, result)}
                for name, (make, result) in _KINDS.items()
            ]
    print(markdown(rows))


if __name__ == "__main__":
    main()
