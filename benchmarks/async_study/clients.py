"""Clients that ask one thing after another over a connection of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import urlsplit

#: A client gives up after so many seconds.
TIMEOUT: Final = 60.0


@dataclass
class Answers:
    """What the clients saw.

    Attributes:
        latencies: seconds from request to whole answer, of answers with a status below 400.
        bodies: of the same answers.
        seconds: from the first request to the last answer.
    """

    latencies: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    errors: int = 0
    timeouts: int = 0
    seconds: float = 0.0


class _Client(asyncio.Protocol):
    """Sends one request after the other, and reads just enough of an answer to see its end.

    The clients share the machine with what they measure: whatever they do while others wait for
    their answers to be read would be timed as the service's.
    """

    def __init__(self, answers: Answers, left: Iterator[bytes], ended: asyncio.Event) -> None:
        self.ended = ended
        self._answers = answers
        self._left = left
        self._received = b""
        self._began = 0.0
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        """Send the next request, if there is one."""
        request = next(self._left, None)
        if request is None:
            self._end()
            return
        self._patience = asyncio.get_running_loop().call_later(TIMEOUT, self._give_up)
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        seen = time.perf_counter()
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self._received = b""
        self._forget()
        if int(head[9:12]) >= 400:
            self._answers.errors += 1
        else:
            self._answers.latencies.append(seen - self._began)
            self._answers.bodies.append(body)
        self.ask()

    def connection_lost(self, _: Exception | None) -> None:
        if self._patience is not None:  # an answer was still to come
            self._answers.errors += 1
        self._end()

    def _give_up(self) -> None:
        self._answers.timeouts += 1
        self._end()

    def _end(self) -> None:
        self._forget()
        self._transport.close()
        self.ended.set()

    def _forget(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.index(b"content-length:") + 15
    return int(lower[at:].partition(b"\r")[0])


async def ask(url: str, requests: Sequence[bytes], clients: int) -> Answers:
    """Have `clients` clients send the requests, each its next once it has its answer.

    All connect before the first request is sent.
    """
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    answers = Answers()
    left = iter(requests)
    connections = await asyncio.gather(
        *(
            loop.create_connection(
                lambda: _Client(answers, left, asyncio.Event()), parts.hostname, parts.port
            )
            for _ in range(clients)
        )
    )
    began = time.perf_counter()
    for _, client in connections:
        client.ask()
    for _, client in connections:
        await client.ended.wait()
    answers.seconds = time.perf_counter() - began
    return answers


def get(url: str, path: str) -> bytes:
    """Return a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()


def post(url: str, path: str, body: bytes) -> bytes:
    """Return a POST request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
