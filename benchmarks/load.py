"""A load generator that costs less than the servers it measures.

Each connection is a raw asyncio protocol that writes one prepared request, waits for the whole
answer and writes the next: no client library, no parsing beyond the status and the content length.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import cycle, islice
from typing import Any, Final, cast
from urllib.parse import urlsplit

import uvloop

_BLANK: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "


def request(url: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """Return a POST request as bytes; JSON unless the headers say otherwise."""
    parts = urlsplit(url)
    lines = {
        "Host": parts.netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {parts.path} HTTP/1.1\r\n{head}\r\n".encode() + body


@dataclass
class Outcome:
    """What a run saw.

    Attributes:
        seconds: of the whole run.
        statuses: how many answers of each status; 0: the connection broke.
        timeouts: requests that were given up, and their connections with them.
        latencies: seconds of each answer, by status.
        bodies: of answers with a status below 400, by the number of their request, when they were
            asked for.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    timeouts: int = 0
    latencies: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    bodies: dict[int, bytes] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers with status 200 per second."""
        return self.statuses[200] / self.seconds

    def percentile(self, percent: float, status: int = 200) -> float:
        """Return a latency percentile in milliseconds; NaN without such answers."""
        ordered = sorted(self.latencies.get(status, []))
        if not ordered:
            return float("nan")
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def measured(url: str, requests: Sequence[bytes], **how: Any) -> Outcome:  # noqa: ANN401 # run's
    """Do as `run` on an event loop of its own, the quickest there is. Blocks."""
    return uvloop.run(run(url, requests, **how))


async def run(
    url: str,
    requests: Sequence[bytes],
    *,
    total: int | None = None,
    seconds: float | None = None,
    connections: int = 1,
    rate: float | None = None,
    keep_bodies: bool = False,
    patience: float | None = None,
) -> Outcome:
    """Send requests and wait for their answers.

    Args:
        requests: sent in turn, again and again.
        total: how many in all; or
        seconds: for how long.
        connections: each has one request under way at a time.
        rate: offered requests per second over all connections; unbounded by default.
        keep_bodies: keep the answers.
        patience: seconds after which a connection gives up; by default it never does.
    """
    parts = urlsplit(url)
    outcome = Outcome()
    numbers = iter(range(total)) if total is not None else iter(range(1 << 62))
    source = zip(numbers, islice(cycle(requests), total), strict=False)
    loop = asyncio.get_running_loop()
    opened = []
    for _ in range(connections):  # all before the first request: opening is not what is measured
        _, protocol = await loop.create_connection(
            lambda: _Connection(source, outcome, keep_bodies, patience), parts.hostname, parts.port
        )
        opened.append(protocol)
    started = time.perf_counter()
    until = started + seconds if seconds is not None else float("inf")
    pace = _Pace(started, rate)
    for connection in opened:
        connection.start(until, pace)
    await asyncio.gather(*(connection.ended for connection in opened))
    outcome.seconds = time.perf_counter() - started
    return outcome


class _Pace:
    """Says when the next request of an offered rate is due."""

    def __init__(self, started: float, rate: float | None) -> None:
        self._next = started
        self._step = 1 / rate if rate else 0.0

    def next(self) -> float:
        self._next += self._step
        return self._next if self._step else 0.0


class _Connection(asyncio.Protocol):
    def __init__(self, source, outcome, keep_bodies, patience) -> None:  # noqa: ANN001 # private
        self._source = source
        self._outcome = outcome
        self._keep = keep_bodies
        self._patience = patience
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.ended = self._loop.create_future()
        self._buffer = b""
        self._number = -1
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def start(self, until: float, pace: _Pace) -> None:
        self._until = until
        self._pace = pace
        self._next()

    def _next(self) -> None:
        now = time.perf_counter()
        self._number, content = next(self._source, (-1, b""))
        if self._number < 0 or now >= self._until:
            self._number = -1
            self._transport.close()
            return
        due = self._pace.next()
        if due > now:
            self._loop.call_later(due - now, self._send, content)
        else:
            self._send(content)

    def _send(self, content: bytes) -> None:
        if self._patience is not None:
            self._timer = self._loop.call_later(self._patience, self._give_up)
        self._sent = time.perf_counter()
        self._transport.write(content)

    def _give_up(self) -> None:
        self._outcome.timeouts += 1
        self._number = -1
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        end = self._end(data)
        if end < 0 or len(data) < end:
            self._buffer = data
            return
        self._buffer = b""
        if self._timer is not None:
            self._timer.cancel()
        status = int(data[9:12])
        self._outcome.statuses[status] += 1
        self._outcome.latencies[status].append(time.perf_counter() - self._sent)
        if self._keep and status < HTTPStatus.BAD_REQUEST:
            self._outcome.bodies[self._number] = data[data.find(_BLANK) + 4 :]
        self._next()

    @staticmethod
    def _end(data: bytes) -> int:
        """Return where the answer ends; -1: not known yet."""
        head = data.find(_BLANK) + 4
        if head < 4:  # not found
            return -1
        at = data.find(_LENGTH, 0, head)
        if at < 0:
            at = data[:head].lower().index(_LENGTH)
        at += len(_LENGTH)
        return head + int(data[at : data.find(b"\r", at)])

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 # asyncio's signature
        if self._timer is not None:
            self._timer.cancel()
        if self._number >= 0:
            self._outcome.statuses[0] += 1
        if not self.ended.done():
            self.ended.set_result(None)
