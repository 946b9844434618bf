"""One kept HTTP/1.1 connection to the ML service, on an event loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

import httptools

#: Largest answer that is read, in bytes.
MAX_ANSWER: Final = 64 * 1024 * 1024


@dataclass(slots=True)
class MlAnswer:
    """A response of the ML service as it came.

    Attributes:
        headers: names in lower case.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class ConnectionBroken(Exception):
    """The connection ended before its answer was complete, or the answer was not HTTP.

    Attributes:
        untouched: no byte of an answer had come.
    """

    def __init__(self, *, untouched: bool) -> None:
        super().__init__("the connection broke")
        self.untouched = untouched


class MlConnection(asyncio.Protocol):
    """Sends one request at a time. Belongs to one event loop.

    Attributes:
        reusable: the connection is open and fit for another request.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[MlAnswer] | None = None
        self.reusable = True

    async def exchange(self, request: bytes) -> MlAnswer:
        """Send a request and return its answer; closes the connection when that is cancelled.

        Raises:
            ConnectionBroken: there is no complete answer.
        """
        if self._transport is None or not self.reusable:
            raise ConnectionBroken(untouched=True)
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._size = 0
        self._touched = False
        self._answer = self._loop.create_future()
        self._transport.write(request)
        try:
            return await self._answer
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close at once; an exchange under way is `ConnectionBroken`. Idempotent."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._answer is None or self._answer.done():
            self.close()  # an answer to no request: the next would be taken for another's
            return
        self._touched = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._break()
        if self._size > MAX_ANSWER:
            self._break()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 # asyncio's signature
        """Called by asyncio."""
        self._break()

    def _break(self) -> None:
        self.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionBroken(untouched=not self._touched))

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self._answer is not None and self._answer.done():  # a second answer to one request
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._size += len(data)
        if self._size <= MAX_ANSWER:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        if status < HTTPStatus.OK:  # an interim answer such as 100 Continue
            self._headers.clear()
        elif self._answer is not None and not self._answer.done() and self._size <= MAX_ANSWER:
            self.reusable = self.reusable and self._parser.should_keep_alive()
            self._answer.set_result(MlAnswer(status, self._headers, b"".join(self._body)))
