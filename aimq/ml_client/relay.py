"""Client of the ML service for an event loop: bytes in, bytes out, over kept connections.

A small HTTP/1.1 client of our own on `httptools`, the parser uvicorn uses: a relay needs none of
what a general client does, and its cost is most of what the interface adds to a prediction.
`benchmarks` and the tests hold it to the same behaviour as a general client: bounded time and
size, broken connections noticed, stale ones replaced.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import urlsplit

import httptools

from aimq.errors import MlUnavailable, Overloaded, SettingsError, TimedOut

#: Most connections to the ML service at once; further requests wait for one.
MAX_CONNECTIONS: Final = 256
#: Requests that wait for a connection before the rest are refused.
MAX_WAITING: Final = 2048
#: Largest answer taken, in bytes.
MAX_ANSWER: Final = 64 * 1024 * 1024
#: A connection unused for longer is not used again: shorter than the server's own patience.
_IDLE_SECONDS: Final = 15.0
_CONNECT_SECONDS: Final = 2.0
_RETRY_AFTER: Final = 1.0

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """A response as it came.

    Attributes:
        headers: names in lower case.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """Return the first header of that (lower-case) name."""
        return next((value for key, value in self.headers if key == name), None)


class Broken(Exception):
    """The connection ended before its answer was complete.

    Attributes:
        untouched: no byte of an answer had come.
    """

    def __init__(self, untouched: bool) -> None:  # noqa: FBT001 # one flag says it all
        super().__init__("connection to the ML service broke")
        self.untouched = untouched


class MlRelay:
    """Connections to the ML service. Belongs to one event loop; not thread-safe.

    Args:
        url: ``http://host:port`` or ``https://…``, with an optional path prefix.
        token: bearer token, "" for none.
        timeout: longest wait for one answer, in seconds.
    """

    def __init__(
        self, url: str, token: str, timeout: float, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(f"AIMQ_ML_URL: {url!r} is not an http:// or https:// address")
        self._host = parts.hostname
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/").encode()
        self._timeout = timeout
        lines = f"Host: {parts.netloc.rpartition('@')[2]}\r\n"
        if token:
            lines += f"Authorization: Bearer {token}\r\n"
        self._fixed = lines.encode("latin-1")
        self._idle: list[_Connection] = []
        self._free = asyncio.Semaphore(max_connections)
        self._waiting = 0
        self._closed = False

    async def get(self, path: bytes) -> Answer:
        """GET a path. Raises as `post`."""
        return await self._exchange(b"GET", path, (), b"")

    async def post(self, path: bytes, body: bytes, headers: Headers = ()) -> Answer:
        """POST a body to a path that may be asked twice, and return whatever it answers.

        A connection that turns out to be stale is replaced and the request sent once more.

        Args:
            headers: names and values, already free of line breaks.

        Raises:
            MlUnavailable: refused, cut off, or not understood.
            TimedOut: no complete answer in time.
            Overloaded: too many requests wait already.
        """
        return await self._exchange(b"POST", path, headers, body)

    async def _exchange(self, method: bytes, path: bytes, headers: Headers, body: bytes) -> Answer:
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        request = b"%b %b%b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
            method, self._prefix, path, self._fixed, lines, len(body), body,
        )  # fmt: skip
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many requests wait for the ML service.", retry_after=1.0)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            return await self._send(request)
        finally:
            self._free.release()

    async def _send(self, request: bytes) -> Answer:
        while True:
            connection = self._take_idle()
            reused = connection is not None
            if connection is None:
                connection = await self._connect()
            try:
                answer = await connection.exchange(request, self._timeout)
            except Broken as exc:
                if reused and exc.untouched:
                    continue  # the server closed it while it was idle
                raise MlUnavailable(
                    "The ML service broke off its answer; try again.", retry_after=_RETRY_AFTER
                ) from exc
            if connection.reusable and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()
            return answer

    def _take_idle(self) -> _Connection | None:
        """Return the connection used last, which is the least likely to be stale."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(_IDLE_SECONDS):
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop), self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError) as exc:
            raise MlUnavailable(
                "The ML service cannot be reached; it may be starting. Try again in a moment.",
                retry_after=_RETRY_AFTER,
            ) from exc
        return connection

    def close(self) -> None:
        """Close idle connections, and the others once they have answered. Idempotent."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._used = loop.time()
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._size = 0
        self._touched = False
        self.reusable = False

    def usable(self, idle_seconds: float) -> bool:
        """Tell whether another request can be sent, as far as can be known."""
        transport = self._transport
        fresh = self._loop.time() - self._used < idle_seconds
        return fresh and transport is not None and not transport.is_closing()

    async def exchange(self, request: bytes, seconds: float) -> Answer:
        """Send a request and return its answer within `seconds`. Raises `Broken`, `TimedOut`."""
        if self._transport is None or self._transport.is_closing():
            raise Broken(untouched=True)
        self._reset()
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._waiter = waiter
        timer = self._loop.call_later(seconds, self._time_out, seconds)
        self._transport.write(request)
        try:
            return await waiter
        except BaseException:  # cancelled too, even with the answer there: nobody keeps it then
            self.close()
            raise
        finally:
            timer.cancel()
            self._waiter = None
            self._used = self._loop.time()

    def close(self) -> None:
        """Drop the connection at once. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _time_out(self, seconds: float) -> None:
        self._fail(TimedOut(f"The ML service did not answer within {seconds:g} s."))

    # asyncio's side of the protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.close()  # bytes nobody asked for: not a server to trust further
            return
        self._touched = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(Broken(untouched=False))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 # asyncio's signature
        self._fail(Broken(untouched=not self._touched))

    # httptools' side: called from feed_data

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_ANSWER:
            self._fail(Broken(untouched=False))
            self.close()
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < HTTPStatus.OK:  # an interim answer such as 100 Continue
            self._headers.clear()
            return
        self.reusable = self._parser.should_keep_alive()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(Answer(status, self._headers, body))
