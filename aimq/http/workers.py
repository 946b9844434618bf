"""Several processes of one HTTP service on one port.

The first process binds the port and supervises ``AIMQ_WORKERS`` workers, which inherit the
listening socket: the kernel gives each connection to one of them. Every worker answers on a Unix
socket of its own as well, through which the others reach it: the one that is asked for metrics sums
those of all, and a reload is passed on to the others.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from starlette.types import Scope

from aimq.http.serve import bind
from aimq.settings import Settings
from aimq.supervisor import Service, Supervisor, service_command

#: Longest wait for another worker, in seconds.
_SECONDS: Final = 30.0
#: Samples that say the same in every worker, or of which the largest counts.
_LARGEST: Final = ("_info", "_start_time_seconds", "_max_fds")

#: Name and labels of a sample.
_Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker process inherits.

    Attributes:
        number: 1 to `Settings.workers`.
        descriptor: of the listening socket.
        folder: of the workers' Unix sockets.
    """

    number: int
    descriptor: int
    folder: Path

    @classmethod
    def parse(cls, text: str) -> Worker:
        """Read what `str` of a worker wrote."""
        number, descriptor, folder = text.split(":", 2)
        return cls(int(number), int(descriptor), Path(folder))

    def __str__(self) -> str:
        return f"{self.number}:{self.descriptor}:{self.folder}"

    def sockets(self) -> list[socket.socket]:
        """Return the listening sockets: the shared one and that of this worker."""
        own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = _path(self.folder, self.number)
        path.unlink(missing_ok=True)  # of the process that this one replaces
        own.bind(str(path))
        return [socket.socket(fileno=os.dup(self.descriptor)), own]


class Peers:
    """The other workers of a service. Belongs to one event loop.

    Args:
        worker: this one; None: there are no others.
    """

    def __init__(self, worker: Worker | None, count: int) -> None:
        numbers = range(1, count + 1) if worker else ()
        self._paths = [_path(worker.folder, n) for n in numbers if worker and n != worker.number]

    async def ask(
        self, scope: Scope, method: str, path: str, body: bytes = b""
    ) -> list[httpx.Response]:
        """Pass a request on to every other worker, with the caller's credentials.

        A request that comes from a worker is not passed on, and one that is being replaced is left
        out: it starts with what is current.
        """
        if scope["client"] is None:  # it came over a Unix socket
            return []
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if name in {b"authorization", b"x-api-key", b"content-type"}
        ]
        answers = await asyncio.gather(
            *(_ask(peer, method, path, headers, body) for peer in self._paths)
        )
        return [answer for answer in answers if answer is not None]


def summed(texts: Iterable[str]) -> bytes:
    """Return the sum of several expositions in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Sum(list(texts)))
    return generate_latest(registry)


class _Sum(Collector):
    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        values: dict[str, dict[_Key, float]] = {}
        for text in self._texts:
            for family in text_string_to_metric_families(text):
                known = Metric(family.name, family.documentation, family.type)
                families.setdefault(family.name, known)
                of_family = values.setdefault(family.name, {})
                for sample in family.samples:
                    key = sample.name, tuple(sample.labels.items())
                    both = of_family.get(key, 0.0), sample.value
                    largest = sample.name.endswith(_LARGEST)
                    of_family[key] = max(both) if largest else sum(both)
        for name, family in families.items():
            for (sample_name, labels), value in values[name].items():
                family.add_sample(sample_name, dict(labels), value)
        return families.values()


def supervise(name: str, host: str, port: int, variable: str, settings: Settings) -> int:
    """Serve with ``settings.workers`` processes until SIGINT or SIGTERM; return the exit code.

    A worker that dies is replaced; all of them stop, and drain, at the same time.

    Raises:
        SettingsError: the port is taken.
    """
    with bind(host, port, variable) as sock, tempfile.TemporaryDirectory(prefix="aimq-") as folder:
        workers = [
            Worker(number, sock.fileno(), Path(folder)) for number in range(1, settings.workers + 1)
        ]
        services = [
            Service(f"{name} {worker.number}", [*service_command(name), "--worker", str(worker)])
            for worker in workers
        ]
        supervisor = Supervisor(
            services,
            os.environ,
            lambda line: print(f"aimq: {line}", file=sys.stderr, flush=True),  # noqa: T201 # as `aimq up`
            stop_seconds=settings.shutdown_seconds + 5,
            together=True,
            pass_fds=[sock.fileno()],
        )
        return asyncio.run(supervisor.run())


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.sock"


async def _ask(
    path: Path, method: str, url: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> httpx.Response | None:
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://localhost", timeout=_SECONDS
    ) as client:
        try:
            return await client.request(method, url, headers=headers, content=body)
        except httpx.TransportError:
            return None
