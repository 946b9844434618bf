"""One HTTP/1.1 connection of a client on an event loop.

It takes a request at a time, and hands the answer to a callback: a future would cost a turn of the
event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

import httptools

from aimq.errors import TimedOut

#: Largest answer taken, in bytes.
MAX_ANSWER: Final = 64 * 1024 * 1024


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
        super().__init__("the connection broke")
        self.untouched = untouched


#: Gets the answer, or a `Broken` or `TimedOut`.
Done = Callable[[Answer | Exception], None]


class Connection(asyncio.Protocol):
    """A connection; one request at a time. Belongs to the event loop.

    Attributes:
        reusable: the last answer left it good for another request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._done: Done | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answer: Answer | None = None
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

    def begin(self, request: bytes, seconds: float, done: Done) -> None:
        """Send a request; `done` is called once, within `seconds`, never before this returns.

        After anything but an answer the connection is closed.
        """
        self._done = done
        if self._transport is None or self._transport.is_closing():
            self._loop.call_soon(self._end, Broken(untouched=True))
            return
        self._reset()
        self._timer = self._loop.call_later(seconds, self._time_out, seconds)
        self._transport.write(request)

    def close(self) -> None:
        """Drop the connection at once; a request under way is `Broken`. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self, outcome: Answer | Exception) -> None:
        done, self._done = self._done, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._used = self._loop.time()
        if not isinstance(outcome, Answer):
            self.close()
        if done is not None:
            done(outcome)

    def _time_out(self, seconds: float) -> None:
        self._end(TimedOut(f"The ML service did not answer within {seconds:g} s."))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._done is None:
            self.close()  # bytes nobody asked for: not a server to trust further
            return
        self._touched = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end(Broken(untouched=False))
            return
        if self._size > MAX_ANSWER:
            self._end(Broken(untouched=False))
        elif self._answer is not None:
            answer, self._answer = self._answer, None
            self._end(answer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 # asyncio's signature
        """Called by asyncio."""
        self._end(Broken(untouched=not self._touched))

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self._answer is not None:  # a second answer to one request
            self.reusable = False
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
            return
        if self._answer is None:
            self.reusable = self._parser.should_keep_alive()
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._answer = Answer(status, self._headers, body)
