"""Everything that can be killed: services, servers, and the connections between them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.system import ROOT, environment, free_ports, wait_ready

#: A test's patience must not be what decides: leases and retries are short, limits are wide.
QUICK = {
    "AIMQ_LEASE_SECONDS": "3",
    "AIMQ_RETRY_BASE_SECONDS": "0.2",
    "AIMQ_RETRY_MAX_SECONDS": "2",
    "AIMQ_MAX_ATTEMPTS": "100",
    "AIMQ_DELIVERY_LIMIT": "50",
    "AIMQ_LOG_LEVEL": "warning",
}


class Daemon:
    """One service of ours, killed with SIGKILL and started again."""

    def __init__(self, name: str, environ: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._environ = dict(environ)
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the service; it says in its log when it cannot."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aimq", self.name.partition(" ")[0]],
                env=self._environ, cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        """Kill the service as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """Ask the service to stop; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)


@dataclass(frozen=True)
class Blow:
    """One thing that can go wrong: `strike` does it, `mend` undoes it after a while."""

    name: str
    strike: Callable[[], object]
    mend: Callable[[], object] = lambda: None


class Fleet:
    """Two batch processors, an interface and an ML service, on embedded adapters or on servers.

    A context manager: all are ready when the block begins and gone when it ends.

    Args:
        folder: of data and logs.
        models: the published models.
        servers: RabbitMQ and Redis of their own, behind proxies, instead of the embedded ones.
    """

    def __init__(self, folder: Path, models: Path, *, servers: bool) -> None:
        self.folder = folder
        self.rabbit = RabbitServer() if servers else None
        self.redis = RedisServer() if servers else None
        self._models = models
        self._stack = ExitStack()
        self._proxies: dict[str, Proxy] = {}
        self.daemons: list[Daemon] = []
        self.environ: dict[str, str] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        more = dict(QUICK)
        if self.rabbit and self.redis:
            for server in (self.rabbit, self.redis):
                self._stack.enter_context(server)
            more["AIMQ_BROKER_URL"] = self._behind_proxy("amqp", self.rabbit.url)
            more["AIMQ_STORE_URL"] = self._behind_proxy("redis", self.redis.url)
        self.environ = environment(self.folder / "data", self._models, **more)
        (second,) = free_ports(1)
        other = {**self.environ, "AIMQ_METRICS_PORT": str(second)}
        self.daemons = [
            Daemon(name, environ, self.folder / f"{name}.log")
            for name, environ in (
                ("ml-service", self.environ),
                ("batch-processor", self.environ),
                ("batch-processor 2", other),
                ("interface", self.environ),
            )
        ]
        for daemon in self.daemons:
            daemon.start()
        self._stack.callback(self._kill_all)
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Address of the interface."""
        return f"http://127.0.0.1:{self.environ['AIMQ_INTERFACE_PORT']}"

    @property
    def ml_url(self) -> str:
        """Address of the ML service."""
        return self.environ["AIMQ_ML_URL"]

    def blows(self) -> list[Blow]:
        """Return all that can go wrong with this fleet."""
        found = [Blow(f"kill -9 {d.name}", d.kill, d.start) for d in self.daemons]
        if self.rabbit and self.redis:
            found += [
                Blow("kill -9 rabbitmq", self.rabbit.kill, self.rabbit.start),
                Blow("restart rabbitmq", self.rabbit.stop, self.rabbit.start),
                Blow("kill -9 redis", self.redis.kill, self.redis.start),
                Blow("restart redis", self.redis.stop, self.redis.start),
            ]
        for name, proxy in self._proxies.items():
            found.append(Blow(f"cut {name} connections", proxy.cut))
        return found

    def wait_ready(self) -> None:
        """Return once every service is ready."""
        for daemon in self.daemons:
            assert daemon.process is not None
            wait_ready(daemon.process, self._address(daemon))

    def stop(self) -> list[int]:
        """Ask all services to stop, the front door first; return their exit codes."""
        return [daemon.stop() for daemon in reversed(self.daemons)]

    def held_messages(self) -> dict[str, int]:
        """Return the unacknowledged messages by queue, as RabbitMQ itself counts them."""
        if self.rabbit is None:
            return {}
        deadline = time.monotonic() + 15  # its figures lag some seconds behind
        while True:
            held = {name: unacked for name, (_, unacked) in self.rabbit.queues().items() if unacked}
            if not held or time.monotonic() > deadline:
                return held
            time.sleep(0.5)

    def _address(self, daemon: Daemon) -> str:
        if daemon.name == "interface":
            return self.url
        if daemon.name == "ml-service":
            return self.ml_url
        return f"http://127.0.0.1:{daemon._environ['AIMQ_METRICS_PORT']}"  # noqa: SLF001

    def _behind_proxy(self, name: str, url: str) -> str:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        proxy = self._stack.enter_context(Proxy(parts.hostname, parts.port))
        self._proxies[name] = proxy
        return url.replace(f":{parts.port}", f":{proxy.port}", 1)

    def _kill_all(self) -> None:
        for daemon in self.daemons:
            daemon.kill()
