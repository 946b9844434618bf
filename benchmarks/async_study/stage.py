"""The services under study on a private RabbitMQ and Redis, and a look behind the scenes."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job
from aimq.jobs.port import JobStore
from aimq.settings import load_settings
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.system import System, environment, running

#: Longest wait for tasks to end, in seconds.
_PATIENCE: Final = 300.0


@dataclass(frozen=True)
class Servers:
    """RabbitMQ and Redis, or neither: the embedded default."""

    broker: RabbitServer | None = None
    store: RedisServer | None = None

    def settings(self, number: int) -> dict[str, str]:
        """Return what points services at them; `number` keeps systems apart."""
        if self.broker is None or self.store is None:
            return {}
        return {
            "AIMQ_BROKER_URL": self.broker.new_vhost(),
            "AIMQ_STORE_URL": self.store.url.replace("/0", f"/{number}"),
        }


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Run a private RabbitMQ and Redis."""
    with RabbitServer(schedulers=2) as broker, RedisServer(fsync="everysec") as store:
        yield Servers(broker, store)


@dataclass
class Stage:
    """Running services, with their job store to look into."""

    system: System
    store: JobStore

    def finish(self, job_ids: Sequence[str]) -> list[Job]:
        """Wait until the jobs are final and return them, in order; few questions are asked."""
        deadline = time.monotonic() + _PATIENCE
        return [self._final(job_id, deadline) for job_id in job_ids]

    def _final(self, job_id: str, deadline: float) -> Job:
        while (job := self.store.get(job_id)) is None or not job.final:
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id} is not done after {_PATIENCE:g} s")
            time.sleep(0.05)
        return job


@contextlib.contextmanager
def stage(
    used: Servers, number: int, models: Path, workers: int = 2, **more: str
) -> Iterator[Stage]:
    """Run the services for the length of a ``with`` block."""
    with tempfile.TemporaryDirectory() as data:
        environ = environment(
            Path(data), models, AIMQ_CONCURRENCY=str(workers), AIMQ_LOG_LEVEL="warning",
            AIMQ_RATE_LIMIT="100000/second", **used.settings(number), **more,
        )  # fmt: skip
        with (
            running(environ) as system,
            contextlib.closing(_store(environ)) as store,
        ):
            yield Stage(system, store)


def _store(environ: dict[str, str]) -> JobStore:
    names = {"data_dir": "AIMQ_DATA_DIR", "store_url": "AIMQ_STORE_URL"}
    return connect_store(
        load_settings(**{key: environ[name] for key, name in names.items() if name in environ})
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile (nearest rank); NaN of nothing."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
