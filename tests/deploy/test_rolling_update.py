"""A new version rolls out while uploads and predictions go on: two replicas of each service.

Every process is replaced: one replica of each of the three services at a time, as three Deployments
roll out side by side. It is asked to stop while a fresh process starts; only when that is ready and
the old one has ended does the other replica's turn come. So the other is alone meanwhile, which is
harder than what `k8s/` asks for.
"""

import contextlib
import itertools
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import openpyxl
import pytest

from tests.deploy.balancer import Balancer
from tests.system import PATIENCE, ROOT, answers, constants, environment, free_ports

SAMPLE = ROOT / "assets" / "sample_files" / "100_rows.xlsx"
REPLICAS = 2
#: Longer than a balancer takes to notice that a replica is not ready.
DRAIN_SECONDS = 1.5
SERVICES = {
    "ml-service": "AIMQ_ML_PORT",
    "batch-processor": "AIMQ_METRICS_PORT",
    "interface": "AIMQ_INTERFACE_PORT",
}
#: How a process of ours ends after SIGTERM.
CLEAN = 0


class Fleet:
    """The processes: `REPLICAS` of each service, and what is in front of them."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self._log = log
        self._stack = contextlib.ExitStack()
        self.ports = {service: free_ports(REPLICAS) for service in SERVICES}
        self._processes: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
        self._started: list[subprocess.Popen[bytes]] = []
        self.ml = Balancer(self.ports["ml-service"])
        self.door = Balancer(self.ports["interface"])
        self._environ = environ

    def __enter__(self) -> "Fleet":
        try:
            for balancer in (self.ml, self.door):
                self._stack.enter_context(balancer)
            self._environ |= {"AIMQ_ML_URL": self.ml.url}
            self._stack.callback(self._end)
            for service, number in itertools.product(SERVICES, range(REPLICAS)):
                self._start(service, number)
            for service, number in self._processes:
                self._wait_ready(service, number)
            self.ml.turned_away = 0  # who was there before it has looked for it
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def replace(self, number: int) -> list[int]:
        """Replace one replica of every service; return how the old processes ended."""
        old = [self._processes[service, number] for service in SERVICES]
        for process in old:
            process.send_signal(signal.SIGTERM)
        gone = {service: self.ports[service][number] for service in SERVICES}
        for service, port in zip(SERVICES, free_ports(len(SERVICES)), strict=True):
            self.ports[service][number] = port
            self._start(service, number)
        codes = [process.wait(PATIENCE) for process in old]
        for service, balancer in (("ml-service", self.ml), ("interface", self.door)):
            balancer.remove(gone[service])
            balancer.add(self.ports[service][number])
        for service in SERVICES:
            self._wait_ready(service, number)
        return codes

    def _start(self, service: str, number: int) -> None:
        environ = self._environ | {SERVICES[service]: str(self.ports[service][number])}
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "aimq", service], env=environ, cwd=ROOT, stderr=log
            )
        self._processes[service, number] = process
        self._started.append(process)

    def _wait_ready(self, service: str, number: int) -> None:
        url = f"http://127.0.0.1:{self.ports[service][number]}/health/ready"
        deadline = time.monotonic() + PATIENCE
        while True:
            if answers(url):
                return
            assert self._processes[service, number].poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"{service} is not ready"
            time.sleep(0.05)

    def _end(self) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.wait(PATIENCE)


@dataclass
class Clients:
    """People and programs that know nothing of the rollout."""

    url: str
    stopping: threading.Event = field(default_factory=threading.Event)
    accepted: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def at_work(self):
        jobs = (self._predict, self._predict, self._upload)
        threads = [threading.Thread(target=job, name=job.__name__) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join(PATIENCE)

    def _predict(self) -> None:
        record = first_record()

        def ask(http: httpx.Client) -> None:
            answer = http.post("/predict", json=record)
            self._count("predict", answer, 200)

        self._repeat(ask, pause=0.05)

    def _upload(self) -> None:
        content = SAMPLE.read_bytes()

        def ask(http: httpx.Client) -> None:
            answer = http.post("/upload", files={"file": (SAMPLE.name, content)})
            if self._count("upload", answer, 202):
                self.accepted.append(answer.json()["job_id"])

        self._repeat(ask, pause=0.25)

    def _repeat(self, ask, pause: float) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as http:
            while not self.stopping.wait(pause):
                try:
                    ask(http)
                except httpx.HTTPError as exc:
                    self.failures.append(f"{ask.__qualname__}: {exc!r}")

    def _count(self, what: str, answer: httpx.Response, expected: int) -> bool:
        self.answers[what] += 1
        if answer.status_code != expected:
            self.failures.append(f"{what}: {answer.status_code} {answer.text[:300]}")
        return answer.status_code == expected


def embedded(_: pytest.FixtureRequest) -> dict[str, str]:
    return {}


def infrastructure(request: pytest.FixtureRequest) -> dict[str, str]:
    rabbit = request.getfixturevalue("rabbitmq_server")
    return {
        "AIMQ_BROKER_URL": rabbit.new_vhost(),
        "AIMQ_STORE_URL": request.getfixturevalue("redis_url"),
    }


@pytest.fixture(
    params=[
        embedded,
        pytest.param(infrastructure, marks=[pytest.mark.rabbitmq, pytest.mark.redis]),
    ],
    ids=lambda adapters: adapters.__name__,
)
def fleet(request, trained_models, tmp_path):
    environ = environment(
        tmp_path / "data",
        trained_models,
        AIMQ_INTERNAL_TOKEN="rolling",
        AIMQ_CONCURRENCY="1",
        **constants(drain_seconds=DRAIN_SECONDS),
        **request.param(request),
    )
    with Fleet(environ, tmp_path / "services.log") as fleet:
        yield fleet


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_rolling_update_loses_nothing_and_fails_no_request(fleet):
    clients = Clients(fleet.door.url)
    codes = []
    with clients.at_work():
        for number in range(REPLICAS):
            codes += fleet.replace(number)
    assert clients.failures == []
    assert (fleet.door.turned_away, fleet.ml.turned_away) == (0, 0)
    assert codes == [CLEAN] * (REPLICAS * len(SERVICES))
    assert clients.answers["predict"] > 100
    assert len(clients.accepted) == clients.answers["upload"] > 20
    with httpx.Client(base_url=fleet.door.url, timeout=30) as door:
        jobs = finished(door, clients.accepted)
        assert Counter(job["status"] for job in jobs) == {"done": len(clients.accepted)}
        assert {(job["rows_total"], job["rows_failed"]) for job in jobs} == {(100, 0)}
        assert {door.get(f"/jobs/{job['job_id']}/result").status_code for job in jobs} == {200}
        assert door.get("/dead-letters").json() == []


def first_record() -> dict:
    header, first, *_ = openpyxl.load_workbook(SAMPLE).worksheets[0].iter_rows(values_only=True)
    return dict(zip(header, first, strict=True))


def finished(door: httpx.Client, ids: list[str]) -> list[dict]:
    """Return the jobs once all of them have ended."""
    deadline = time.monotonic() + PATIENCE
    jobs = []
    for job in ids:
        while (body := door.get(f"/jobs/{job}").json())["status"] in {
            "queued", "processing", "retrying",
        }:  # fmt: skip
            assert time.monotonic() < deadline, f"not finished: {body}"
            time.sleep(0.05)
        jobs.append(body)
    return jobs
