"""Services as processes that can be killed, frozen, stopped and started one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from aimq.broker.connect import connect_broker
from aimq.broker.port import Broker
from aimq.broker.topology import WORK_QUEUES
from aimq.settings import Settings
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.system import PATIENCE, ROOT, environment, run_aimq, wait_ready

Found = TypeVar("Found")


class Service:
    """One service in a process of its own.

    Args:
        name: of its command; what follows a space tells several apart.
        environ: its environment.
        log: the file that its standard error is added to.
        command: what is run instead of ``aimq <name>``.
    """

    def __init__(
        self, name: str, environ: Mapping[str, str], log: Path, command: list[str] | None = None
    ) -> None:
        self.name = name
        self.environ = dict(environ)
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command or [
            sys.executable, "-m", "aimq", name.partition(" ")[0], "--parent", str(os.getpid()),
        ]  # fmt: skip

    @property
    def pid(self) -> int:
        """Process id of the running service."""
        assert self.process is not None, "not running"
        return self.process.pid

    @property
    def url(self) -> str:
        """Where it is probed."""
        variable = {
            "interface": "AIMQ_INTERFACE_PORT",
            "ml-service": "AIMQ_ML_PORT",
            "batch-processor": "AIMQ_METRICS_PORT",
        }[self.name.partition(" ")[0]]
        return f"http://127.0.0.1:{self.environ[variable]}"

    def start(self) -> None:
        """Start it; it says in its log when it cannot."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self.environ, cwd=ROOT, stdout=log, stderr=log
            )

    def wait_ready(self) -> None:
        """Return once it is ready."""
        assert self.process is not None, "not running"
        try:
            wait_ready(self.process, self.url)
        except (RuntimeError, TimeoutError) as exc:
            exc.add_note(self.log.read_text(errors="replace")[-4000:])
            raise

    def kill(self) -> None:
        """Kill it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def freeze(self) -> None:
        """Let it do nothing more, as a machine that swaps would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`; it knows nothing of the time that went by."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to stop."""
        assert self.process is not None, "not running"
        self.process.terminate()

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        assert self.process is not None, "not running"
        return self.process.wait(PATIENCE)

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        self.terminate()
        return self.wait()

    def says(self, text: str) -> int:
        """Return how many lines of its log contain `text`."""
        return sum(text in line for line in self.log.read_text(errors="replace").splitlines())


class Services:
    """An interface and batch processors on one data folder. A context manager: what was started
    is gone when the block ends.

    Args:
        folder: of data and logs.
        ml_url: the ML service, or a stand-in for it.
        rabbit: the broker, where it is RabbitMQ; its own tool is asked what is in the queues.
        redis: the store, where it is Redis.
        more: settings that differ from the defaults.
    """

    def __init__(
        self,
        folder: Path,
        ml_url: str,
        rabbit: RabbitServer | None = None,
        redis: RedisServer | None = None,
        **more: str,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.rabbit = rabbit
        self.redis = redis
        self.environ = environment(folder / "data", Path("unused"), AIMQ_ML_URL=ml_url, **more)
        self.interface = self.service("interface")
        self.http = httpx.Client(base_url=self.interface.url, timeout=30)
        self._stack = ExitStack()
        self._stack.callback(self.http.close)
        self._broker: Broker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def broker(self) -> Broker:
        """The services' broker, for what others may put on its queues."""
        if self._broker is None:
            given = {
                name.removeprefix("AIMQ_").lower(): value
                for name, value in self.environ.items()
                if name in {"AIMQ_BROKER_URL", "AIMQ_DATA_DIR"} or name.startswith("AIMQ_RETRY_")
            }
            self._broker = connect_broker(Settings(**given))  # type: ignore[arg-type]
            self._stack.callback(self._broker.close)
        return self._broker

    def configure(self, **more: str) -> None:
        """Change settings of services that are not started."""
        self.environ.update(more)
        self.interface.environ.update(more)

    def service(self, name: str, command: list[str] | None = None, **more: str) -> Service:
        """Return a service of these that is not started."""
        made = Service(name, {**self.environ, **more}, self.folder / f"{name}.log", command)
        made.log.touch()
        return made

    def run(self, *services: Service) -> None:
        """Start services, and kill them when the block ends."""
        for service in services:
            service.start()
            self._stack.callback(service.kill)
        for service in services:
            service.wait_ready()

    def aimq(self, *arguments: str) -> str:
        """Run a command beside the services; return what it prints."""
        done = run_aimq(self.environ, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def post(self, workbook: bytes, name: str = "cars.xlsx") -> httpx.Response:
        """Upload a workbook."""
        return self.http.post("/upload", files={"file": (name, workbook)})

    def upload(self, workbook: bytes, name: str = "cars.xlsx") -> str:
        """Upload a workbook that is accepted; return its job's id."""
        answer = self.post(workbook, name)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return str(answer.json()["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as the interface tells it."""
        found: dict[str, Any] = self.http.get(f"/jobs/{job_id}").raise_for_status().json()
        return found

    def finished(self, job_id: str) -> dict[str, Any]:
        """Return a job once it is final."""
        return self.becomes(job_id, "done", "failed", "cancelled")

    def becomes(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """Return a job once it has one of the statuses."""
        self.until(lambda: self.job(job_id)["status"] in statuses)
        return self.job(job_id)

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the dead letters in full."""
        listed = self.http.get("/dead-letters").raise_for_status().json()
        answers = [self.http.get(f"/dead-letters/{one['id']}") for one in listed]
        gone = httpx.codes.NOT_FOUND  # replayed in between
        return [one.raise_for_status().json() for one in answers if one.status_code != gone]

    def dead_letter(self) -> dict[str, Any]:
        """Return the only dead letter once it is there."""
        return self.until(self.dead_letters)[0]

    def left(self) -> dict[str, str]:
        """Return what is in the queues but for dead letters, by the server's own count."""
        if self.rabbit is None:
            return self._waiting()
        return {
            name: f"{ready} ready, {unacked} unacknowledged"
            for name, (ready, unacked) in self.rabbit.queues(self._vhost()).items()
            if unacked or (ready and not name.endswith(".dead"))
        }

    def _waiting(self) -> dict[str, str]:
        """The same by the adapter's count, which on RabbitMQ leaves out what others hold."""
        counts = {queue: self.broker.counts(queue) for queue in WORK_QUEUES}
        return {q: str(c) for q, c in counts.items() if c.ready or c.held or c.delayed}

    def all_is_quiet(self) -> bool:
        """Return once nothing is in the queues but dead letters, nor held by anybody."""
        self.until(lambda: not self._waiting())  # the server's own count takes a second each time
        return self.until(lambda: not self.left())

    def until(self, look: Callable[[], Found]) -> Found:
        """Return what `look` returns once it is true."""
        deadline = time.monotonic() + PATIENCE
        while not (found := look()):
            assert time.monotonic() < deadline, self._logs()
            time.sleep(0.05)
        return found

    def _vhost(self) -> str:
        return self.environ["AIMQ_BROKER_URL"].rpartition("/")[2].replace("%2F", "/")

    def _logs(self) -> str:
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}"
            for log in sorted(self.folder.glob("*.log"))
        )
