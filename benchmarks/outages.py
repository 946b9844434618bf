"""Stops RabbitMQ, the ML service and Redis under uploads, one after the other, and tells what came
of it.

    python -m benchmarks.outages --seconds 60

Retries are as they are by default. Exits 1 unless everything accepted was done, with no process
started again and no message left.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from benchmarks.chaos.ledger import Pool
from benchmarks.machine import describe
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.services import Services
from tests.system import free_ports

#: Time between two uploads, in seconds.
_PAUSE = 0.5
_STOPPED = ("RabbitMQ", "the ML service", "Redis")
#: Uploads go on for so long before and after the outage, in seconds.
_AROUND = 3.0


class Uploads:
    """Uploads one small workbook after another until stopped. A context manager.

    Attributes:
        jobs: ids of those accepted.
        answers: how often each status came.
        slowest: longest wait for an answer, in seconds.
        said_when: every refusal said when to come back.
    """

    def __init__(self, services: Services, workbook: bytes) -> None:
        self.jobs: list[str] = []
        self.answers: Counter[int] = Counter()
        self.slowest = 0.0
        self.said_when = True
        self._services, self._workbook = services, workbook
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Uploads:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        url = f"{self._services.interface.url}/upload"
        with httpx.Client(timeout=30) as http:
            while not self._stop.wait(_PAUSE):
                start = time.monotonic()
                answer = http.post(url, files={"file": ("cars.xlsx", self._workbook)})
                self.slowest = max(self.slowest, time.monotonic() - start)
                self.answers[answer.status_code] += 1
                if answer.status_code == httpx.codes.ACCEPTED:
                    self.jobs.append(answer.json()["job_id"])
                else:
                    self.said_when = self.said_when and "retry-after" in answer.headers


def outage(
    name: str,
    services: Services,
    workbook: bytes,
    stop: Callable[[], object],
    start: Callable[[], object],
    seconds: float,
) -> bool:
    """Make one outage and print what came of it; tell whether all promises were kept."""
    processor = services.service("batch-processor")
    services.run(services.interface, processor)
    pids = services.interface.pid, processor.pid
    with Uploads(services, workbook) as uploads:
        time.sleep(_AROUND)
        before = len(uploads.jobs)
        stop()
        gaps = _gaps(services, uploads, before, seconds)
        start()
        back = time.monotonic()
        time.sleep(_AROUND)
    ends = Counter(services.finished(job)["status"] for job in uploads.jobs)
    took = time.monotonic() - back
    services.all_is_quiet()
    running = (services.interface.process, processor.process)
    same = pids == (services.interface.pid, processor.pid) and not any(
        process is None or process.poll() is not None for process in running
    )
    answers = ", ".join(f"{count} × {status}" for status, count in uploads.answers.items())
    print(f"\n{name} stopped for {seconds:g} s")
    print(
        f"  uploads from 3 s before to 3 s after: {answers}; slowest answer {uploads.slowest:.2f} s"
    )
    if any(status == httpx.codes.SERVICE_UNAVAILABLE for status in uploads.answers):
        print(f"  every refusal with Retry-After: {'yes' if uploads.said_when else 'no'}")
    if gaps:
        print(f"  first job of the outage, seconds until each attempt: {', '.join(gaps)}")
    print(f"  ends: {dict(ends)}, the last {took:.1f} s after it was back")
    for error, count in Counter(_errors(services, uploads)).items():
        print(f"  {count} × {error}")
    print(f"  dead letters {len(services.dead_letters())}; messages left in queues: none")
    print(f"  processes started again by hand: {'none' if same else 'some'}", flush=True)
    return same and set(ends) <= {"done"}


def _gaps(services: Services, uploads: Uploads, before: int, seconds: float) -> list[str]:
    """Wait, and return the time until each attempt at the first job of the outage from the second
    on, as text.
    """
    end = time.monotonic() + seconds
    seen: dict[int, float] = {}
    while time.monotonic() < end:
        if len(uploads.jobs) > before:
            answer = services.http.get(f"/jobs/{uploads.jobs[before]}")
            if answer.is_success:
                seen.setdefault(answer.json()["attempts"], time.monotonic())
        time.sleep(0.05)
    times = [(attempt, moment) for attempt, moment in sorted(seen.items()) if attempt]
    return [f"{b - a:.1f} (attempt {n})" for (_, a), (n, b) in itertools.pairwise(times)]


def _errors(services: Services, uploads: Uploads) -> list[str]:
    return [job["error"] for job in map(services.job, uploads.jobs) if job["error"]]


def main() -> int:
    """Run the three outages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", choices=_STOPPED, help="stop nothing else")
    parser.add_argument("--models", type=Path, default=Path("models"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    print(describe())
    kept = []
    with (
        tempfile.TemporaryDirectory(prefix="aimq-outages-") as folder,
        RabbitServer() as rabbit,
        RedisServer() as redis,
    ):
        for number, name in enumerate([options.only] if options.only else _STOPPED):
            [port] = free_ports(1)
            with Services(
                Path(folder) / str(number),
                f"http://127.0.0.1:{port}",
                rabbit,
                redis,
                AIMQ_BROKER_URL=rabbit.url,
                AIMQ_STORE_URL=redis.url,
                AIMQ_ML_PORT=str(port),
                AIMQ_MODELS_DIR=str(options.models.absolute()),
            ) as services:
                ml = services.service("ml-service")
                services.run(ml)
                workbook = Pool(ml.url, 50, seed=1).workbook(list(range(50)))
                stop, start = {
                    "RabbitMQ": (rabbit.stop, rabbit.start),
                    "the ML service": (ml.stop, ml.start),
                    "Redis": (redis.stop, redis.start),
                }[name]
                kept.append(outage(name, services, workbook, stop, start, options.seconds))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
