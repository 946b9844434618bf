"""Several processes of one HTTP service on one port.

The first process binds the port and supervises ``AIMQ_WORKERS`` workers, which inherit the
listening socket: the kernel gives each connection to one of them. Every worker listens on a
loopback port of its own as well. There the others reach it: whichever is asked for metrics answers
with the sum of all, and a change of the models' versions is passed on.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from aimq.http.bodies import read_body
from aimq.http.serve import bind
from aimq.settings import Settings
from aimq.supervisor import Service, Supervisor, service_command

#: Longest wait for another worker, in seconds: a reload loads models.
_SECONDS: Final = 60.0
_MAX_BODY: Final = 4096
_SUMMED: Final = "/metrics"
#: Changes of versions: what each of the other workers of the ML service is asked for, too.
MODEL_CHANGES: Final = re.compile(r"/models/(?:[A-Za-z0-9_.-]+/)?(?:reload|rollback|canary)")
_HEADERS: Final = frozenset({b"authorization", b"x-api-key", b"content-type"})
#: Endings of samples of which the largest is told: a sum of them says nothing.
_LARGEST: Final = ("_info", "_start_time_seconds", "_max_fds", "_drift")

#: Name and labels of a sample.
_Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker process inherits.

    Attributes:
        number: 1 to `Settings.workers`.
        descriptor: of the shared listening socket.
        folder: of files that hold the workers' own ports.
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

    def listen(self) -> list[socket.socket]:
        """Return the listening sockets, the shared one first, and publish the own port."""
        own = bind("127.0.0.1", 0, "AIMQ_WORKERS")
        beside = self.folder / f".{self.number}"
        beside.write_text(str(own.getsockname()[1]), encoding="ascii")
        beside.replace(self.folder / str(self.number))
        return [socket.socket(fileno=self.descriptor), own]


class _Call(NamedTuple):
    path: str
    body: bytes


class Peers:
    """ASGI middleware of a worker that asks the others, too. Belongs to one event loop.

    Args:
        passed_on: paths of POST requests that concern all workers.

    A worker that cannot be reached is being replaced: it starts with the current models, and its
    counts are gone.
    """

    def __init__(
        self, app: ASGIApp, worker: Worker, passed_on: re.Pattern[str] | None = None
    ) -> None:
        self._app = app
        self._worker = worker
        self._passed_on = passed_on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for all workers what concerns all, unless another worker asks."""
        if not self._concerns_all(scope) or self._comes_from_peer(scope):
            await self._app(scope, receive, send)
            return
        call = _Call(scope["path"], await read_body(scope, receive, _MAX_BODY))
        here = httpx.ASGITransport(self._app, client=scope["client"])
        answers = [await self._ask(scope, call, here)]
        if answers[0].is_success:
            call = _for_others(call, answers[0])
            others = (self._ask_other(scope, call, number) for number in self._others())
            answers += [answer for answer in await asyncio.gather(*others) if answer is not None]
        joined = _sum(answers) if call.path == _SUMMED else _first_refusal(answers)
        await joined(scope, receive, send)

    def _concerns_all(self, scope: Scope) -> bool:
        match scope.get("method"):
            case "GET":
                return bool(scope["path"] == _SUMMED)
            case "POST":
                return bool(self._passed_on and self._passed_on.fullmatch(scope["path"]))
        return False

    def _comes_from_peer(self, scope: Scope) -> bool:
        return bool(scope["server"][1] == self._port(self._worker.number))

    def _others(self) -> list[int]:
        numbers = (int(path.name) for path in self._worker.folder.glob("[0-9]*"))
        return [number for number in numbers if number != self._worker.number]

    def _port(self, number: int) -> int:
        return int((self._worker.folder / str(number)).read_text(encoding="ascii"))

    async def _ask_other(self, scope: Scope, call: _Call, number: int) -> httpx.Response | None:
        try:
            port = self._port(number)
            return await self._ask(scope, call, httpx.AsyncHTTPTransport(), port)
        except (OSError, httpx.TransportError):
            return None

    async def _ask(
        self, scope: Scope, call: _Call, transport: httpx.AsyncBaseTransport, port: int = 0
    ) -> httpx.Response:
        headers = [header for header in scope["headers"] if header[0] in _HEADERS]
        async with httpx.AsyncClient(transport=transport, timeout=_SECONDS) as client:
            url = f"http://127.0.0.1:{port}{call.path}"
            return await client.request(scope["method"], url, headers=headers, content=call.body)


def _for_others(call: _Call, answer: httpx.Response) -> _Call:
    """Return what the others are asked for after this worker's answer.

    After a roll-back it is the version that this one went back to: another worker that has seen
    it in the folder already would go back by one more.
    """
    if not call.path.endswith("/rollback"):
        return call
    version = answer.json()["version"]
    body = msgspec.json.encode({"version": version})
    return _Call(call.path.removesuffix("rollback") + "reload", body)


def _sum(answers: list[httpx.Response]) -> Response:
    text = summed(answer.text for answer in answers if answer.is_success)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def _first_refusal(answers: list[httpx.Response]) -> Response:
    """Return the answer of a worker that refused, else that of this one."""
    told = next((answer for answer in answers if not answer.is_success), answers[0])
    return Response(told.content, told.status_code, headers=dict(told.headers))


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


def listen(host: str, port: int, variable: str, worker: Worker | None) -> list[socket.socket]:
    """Return the listening sockets of a service, or of one of its workers; see `bind`."""
    return worker.listen() if worker else [bind(host, port, variable)]


def for_all(
    app: ASGIApp, worker: Worker | None, passed_on: re.Pattern[str] | None = None
) -> ASGIApp:
    """Return the application, with `Peers` before it in a worker."""
    return Peers(app, worker, passed_on) if worker else app


def supervise(name: str, host: str, port: int, variable: str, settings: Settings) -> int:
    """Serve with ``settings.workers`` processes until SIGINT or SIGTERM; return the exit code.

    A worker that dies is replaced; all of them drain and stop at the same time.

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
            _say,
            stop_seconds=settings.shutdown_seconds + 2,
            together=True,
            pass_fds=[sock.fileno()],
        )
        return asyncio.run(supervisor.run())


def _say(line: str) -> None:
    sys.stderr.write(f"aimq: {line}\n")
    sys.stderr.flush()
