"""Do crafted workbooks harm anybody? They are uploaded while other clients are being served.

    python -m benchmarks.hostile [--memory 2048]

Runs `aimq up` with a bound on the memory of each process of the batch processor. Every file of
`tests.hostile_workbooks` is uploaded, and once more put straight into the queue, as if the
interface had let it through. Meanwhile another client lists jobs, predicts, uploads a row and asks
whether the services are ready. Exit code 1 when a service died, an answer was 5xx, a job did not
end as it should, or the other client waited more than two seconds.
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from aimq.broker.connect import connect_broker
from aimq.broker.topology import UPLOADS
from aimq.cli.up import SERVICES
from aimq.files import connect_files
from aimq.files.keys import upload_key
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job, Status
from aimq.messages import Kind, Message
from aimq.settings import Settings
from benchmarks.machine import describe
from benchmarks.soak import SAMPLE, record
from tests.hostile_workbooks import READ, corpus
from tests.system import System, constants, environment, running

_UPLOADERS: Final = 4
_PATIENCE: Final = 300.0
_BOUND_SECONDS: Final = 2.0
_MIB: Final = 1 << 20


@dataclass
class Hostile:
    """What was seen.

    Attributes:
        answers: status code to how many uploads it answered.
        waits: call of the other client to its waits, in seconds.
        wrong: what should not have happened.
    """

    answers: dict[int, int] = field(default_factory=dict)
    waits: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    peak_mib: float = 0.0

    def check(self, name: str, right: object, seen: object = "") -> None:
        """Note what is wrong, if it is."""
        if not right:
            self.wrong.append(f"{name}: {seen}")


class _Other:
    """Another client, and a look at the memory, until it is stopped."""

    def __init__(self, system: System, batch: int, seen: Hostile) -> None:
        self._system, self._batch, self._seen = system, batch, seen
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(call,))
            for call in (self._list, self._predict, self._upload, self._ready, self._look)
        ]
        self._record, self._row = record(), SAMPLE.read_bytes()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, call: object) -> None:
        with httpx.Client(base_url=self._system.url, timeout=60.0) as client:
            while not self._stopping.wait(0.1):
                call(client)  # type: ignore[operator] # one of the methods below

    def _timed(self, name: str, answer: httpx.Response) -> None:
        seconds = answer.elapsed.total_seconds()
        self._seen.waits.setdefault(name, []).append(seconds)
        self._seen.check(name, answer.status_code < 500, answer.status_code)
        self._seen.check(name, seconds <= _BOUND_SECONDS, f"{seconds:.2f} s")

    def _list(self, client: httpx.Client) -> None:
        self._timed("GET /jobs", client.get("/jobs"))

    def _predict(self, client: httpx.Client) -> None:
        self._timed("POST /predict", client.post("/predict", content=self._record))

    def _upload(self, client: httpx.Client) -> None:
        answer = client.post("/upload", files={"file": ("row.xlsx", self._row)})
        self._timed("POST /upload", answer)

    def _ready(self, client: httpx.Client) -> None:
        self._timed("GET /health/ready", client.get("/health/ready"))

    def _look(self, _client: httpx.Client) -> None:
        total = sum(_resident(pid) for pid in [self._batch, *_children(self._batch)])
        self._seen.peak_mib = max(self._seen.peak_mib, total / _MIB)


def _children(pid: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:
        return []  # a thread ended meanwhile


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0  # it ended meanwhile
    return pages * resource.getpagesize()


def _upload_all(system: System, crafted: dict[str, bytes], seen: Hostile) -> None:
    def upload(named: tuple[str, bytes]) -> None:
        name, content = named
        answer = httpx.post(f"{system.url}/upload", files={"file": (name, content)}, timeout=60.0)
        seen.answers[answer.status_code] = seen.answers.get(answer.status_code, 0) + 1
        seen.check(name, answer.status_code < 500, answer.text)
        if name in READ:
            seen.check(name, answer.status_code == 202, answer.text)

    with ThreadPoolExecutor(_UPLOADERS) as pool:
        list(pool.map(upload, crafted.items()))


def _queue_all(data: Path, crafted: dict[str, bytes], seen: Hostile) -> None:
    """Put every file straight into the queue and wait for the end of every job."""
    settings = Settings(data_dir=data)
    files = connect_files(settings)
    with closing(connect_broker(settings)) as broker, closing(connect_store(settings)) as store:
        jobs = {}
        for name, content in crafted.items():
            job = Job(kind=Kind.SPREADSHEET, filename=name)
            files.put(upload_key(job.job_id), io.BytesIO(content))
            store.create([job])
            broker.publish(UPLOADS, Message(job_id=job.job_id, kind=job.kind)).result(10)
            jobs[name] = job.job_id
        deadline = time.monotonic() + _PATIENCE
        for name, job_id in jobs.items():
            while not (job := store.get(job_id)).final and time.monotonic() < deadline:
                time.sleep(0.1)
            right = Status.DONE if name in READ else Status.FAILED
            seen.check(name, job.status is right, f"{job.status} {job.error}")
            seen.check(name, job.attempts == 1, f"{job.attempts} attempts {job.error}")


def _services(system: System) -> dict[str, int]:
    """Return the process ids of the services by name."""
    commands = {
        pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        for pid in _children(system.process.pid)
    }
    return {name: pid for pid, words in commands.items() for name in SERVICES if name in words}


def run(data: Path, models: Path, memory: int) -> Hostile:
    """Run a system of its own in a folder and return what was seen."""
    seen = Hostile()
    crafted = dict(corpus())  # beforehand: it takes its time
    bounds = constants(max_unpacked_mb=256)  # above it lies the bomb
    environ = environment(data, models, AIMQ_LOG_LEVEL="error", **bounds)
    with running(environ) as system:
        services = _services(system)
        batch = services["batch-processor"]
        resource.prlimit(batch, resource.RLIMIT_DATA, (memory * _MIB, memory * _MIB))
        other = _Other(system, batch, seen)
        try:
            _upload_all(system, crafted, seen)
            _queue_all(data, crafted, seen)
        finally:
            other.stop()
        seen.check("services", services == _services(system), "one died")
    return seen


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", type=int, default=2048, help="MiB of data of each process")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        seen = run(Path(data), Path("models").absolute(), given.memory)
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(seen.answers.items()))
    print(f"Uploads answered: {answers}; {describe()}")
    print(f"Batch processor with its readers: at most {seen.peak_mib:,.0f} MiB resident\n")
    print("| other client | calls | median, s | slowest, s |\n|---|---|---|---|")
    for call, waits in sorted(seen.waits.items()):
        middle = sorted(waits)[len(waits) // 2]
        print(f"| {call} | {len(waits)} | {middle:.3f} | {max(waits):.2f} |")
    print("\n" + ("\n".join(f"WRONG {line}" for line in seen.wrong) or "Nothing went wrong."))
    raise SystemExit(1 if seen.wrong else 0)


if __name__ == "__main__":
    main()
