"""Clients that ask one thing after another over a connection of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from benchmarks import load

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


def ask(url: str, requests: Sequence[bytes], clients: int) -> Answers:
    """Have `clients` clients send the requests, each its next once it has its answer. Blocks.

    All connect before the first request is sent.
    """
    outcome = load.measured(
        url,
        requests,
        total=len(requests),
        connections=clients,
        keep_bodies=True,
        patience=TIMEOUT,
    )
    good = {status for status in outcome.statuses if 0 < status < HTTPStatus.BAD_REQUEST}
    return Answers(
        [seconds for status in good for seconds in outcome.latencies[status]],
        list(outcome.bodies.values()),
        errors=sum(count for status, count in outcome.statuses.items() if status not in good),
        timeouts=outcome.timeouts,
        seconds=outcome.seconds,
    )


def get(url: str, path: str) -> bytes:
    """Return a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()


def post(url: str, path: str, body: bytes) -> bytes:
    """Return a POST request with a JSON body."""
    return load.request(url + path, body)
