"""Clients that ask one thing after another over a connection of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
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


async def ask(url: str, requests: Sequence[bytes], clients: int) -> Answers:
    """Have `clients` clients send the requests, each its next once it has its answer.

    All connect before the first request is sent.
    """
    parts = urlsplit(url)
    answers = Answers()
    left = iter(requests)
    connections = await asyncio.gather(
        *(asyncio.open_connection(parts.hostname, parts.port) for _ in range(clients))
    )

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for request in left:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(TIMEOUT):
                    writer.write(request)
                    status, body = await _answer(reader)
            except TimeoutError:
                answers.timeouts += 1
                break
            except (OSError, asyncio.IncompleteReadError, ValueError):
                answers.errors += 1
                break
            if status >= 400:
                answers.errors += 1
            else:
                answers.latencies.append(time.perf_counter() - began)
                answers.bodies.append(body)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client(*connection) for connection in connections))
    answers.seconds = time.perf_counter() - began
    return answers


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().index(b"content-length:") + 15
    length = int(head[at : head.index(b"\r", at)])
    return int(head[9:12]), await reader.readexactly(length)


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
