"""Everything that can be killed: services, servers, and the connections between them."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from aimq.broker.connect import connect_broker
from aimq.broker.topology import WORK_QUEUES
from aimq.settings import Settings
from benchmarks.chaos.plan import Blow
from tests.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.services import Service
from tests.system import constants, environment, free_ports

_LEASE = 3.0
#: A test's patience must not be what decides: leases and retries are short, limits are wide.
QUICK = {
    "AIMQ_LEASE_SECONDS": str(_LEASE),
    "AIMQ_RETRY_BASE_SECONDS": "0.2",
    "AIMQ_RETRY_MAX_SECONDS": "2",
    "AIMQ_MAX_ATTEMPTS": "100",
    "AIMQ_LOG_LEVEL": "warning",
    **constants(delivery_limit=50),
}

#: What is struck is left alone for so long, in seconds: it needs some of it to start again.
_REST = {
    "interface": 8.0,
    "ml-service": 8.0,
    "batch-processor": 4.0,
    "batch-processor 2": 4.0,
    "rabbitmq": 14.0,
    "redis": 5.0,
}


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
        self.daemons: list[Service] = []
        self.environ: dict[str, str] = {}

    def __enter__(self) -> Self:
        more = dict(QUICK)
        if self.rabbit and self.redis:
            for server in (self.rabbit, self.redis):
                self._stack.enter_context(server)
            more["AIMQ_BROKER_URL"] = self._behind_proxy("amqp", self.rabbit.url)
            more["AIMQ_STORE_URL"] = self._behind_proxy("redis", self.redis.url)
        self.environ = environment(self.folder / "data", self._models, **more)
        ml = self.environ["AIMQ_ML_URL"]
        through_proxy = {**self.environ, "AIMQ_ML_URL": self._behind_proxy("ml-service", ml)}
        (second,) = free_ports(1)
        other = {**through_proxy, "AIMQ_METRICS_PORT": str(second)}
        self.daemons = [
            Service(name, environ, self.folder / f"{name}.log")
            for name, environ in (
                ("ml-service", self.environ),
                ("batch-processor", through_proxy),
                ("batch-processor 2", other),
                ("interface", through_proxy),
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
        found = []
        for daemon in self.daemons:
            name = daemon.name
            found.append(Blow(name, f"kill -9 {name}", daemon.kill, daemon.start, rest=_REST[name]))
            if name.startswith("batch-processor"):
                found.append(
                    Blow(name, f"freeze {name}", daemon.freeze, daemon.thaw, outage=2 * _LEASE)
                )
        for name, server in (("rabbitmq", self.rabbit), ("redis", self.redis)):
            if server is not None:
                rest = _REST[name]
                found += [
                    Blow(name, f"kill -9 {name}", server.kill, server.start, rest=rest),
                    Blow(name, f"restart {name}", server.stop, server.start, rest=rest),
                ]
        for name, proxy in self._proxies.items():
            found.append(Blow(f"{name} network", f"cut {name} connections", proxy.cut))
        return found

    def wait_ready(self) -> None:
        """Return once every service is ready."""
        for daemon in self.daemons:
            daemon.wait_ready()

    def stop(self) -> list[int]:
        """Ask all services to stop, the front door first; return their exit codes."""
        return [daemon.stop() for daemon in reversed(self.daemons)]

    def left_over(self) -> dict[str, str]:
        """Return what is in the queues, dead letters apart, once it does not get less any more.

        Counted by RabbitMQ itself where it is the broker. A second message of a job that is done
        may be on its way to be forgotten; an unacknowledged one must not stay.
        """
        deadline = time.monotonic() + 20
        while (left := self._in_queues()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return left

    def _in_queues(self) -> dict[str, str]:
        if self.rabbit is not None:
            return {
                name: f"{ready} ready, {unacked} unacknowledged"
                for name, (ready, unacked) in self.rabbit.queues().items()
                if unacked or (ready and not name.endswith(".dead"))
            }
        broker = connect_broker(Settings(data_dir=self.folder / "data"))
        with closing(broker):
            counts = {queue: broker.counts(queue) for queue in WORK_QUEUES}
        return {q: str(c) for q, c in counts.items() if c.ready or c.held or c.delayed}

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
