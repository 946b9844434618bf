"""Some requests are refused, or answered, where the server parses them.

A task, a walk through the framework, and the messages between server and application cost more
than a prediction, or a refusal. So the server's protocol shows a plain POST for some paths to a
`Desk` first: its headers as soon as they are there, which it may refuse before the body is read,
and the small body of one that it wants to answer itself. Everything else goes the framework's way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Final, NamedTuple, Protocol, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from aimq.http.drain import Drain

#: Largest body that is answered here, in bytes: many times a record, and parsed in microseconds.
MOST_BYTES: Final = 16 * 1024


class Written(NamedTuple):
    """An answer as it is sent: its status, and all that follows the server's own headers."""

    status: int
    rest: bytes


def written(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Written:
    """Return an answer as it is sent.

    Args:
        headers: all but the content length; free of line breaks.
    """
    return Written(status, b"%bcontent-length: %d\r\n\r\n%b" % (_lines(headers), len(body), body))


#: Sends an answer. Called once, on the event loop; too late is no error.
Respond = Callable[[Written], None]


class Desk(Protocol):
    """Answers POST requests for one path. Belongs to the event loop; never blocks, never raises."""

    def refusal(self, scope: Scope) -> Written | None:
        """Return what refuses a request of which the headers have come; None: it goes on.

        Args:
            scope: as far as it is known: the path is not in it, and not unescaped.
        """
        ...

    def is_open(self) -> bool:
        """Whether `take` is worth asking at present."""
        ...

    def take(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """Answer a request, now or later, or return False: it goes the framework's way then."""
        ...


class Front:
    """The desks of a service. Belongs to the event loop.

    Args:
        desks: by path.
    """

    def __init__(self, desks: Mapping[str, Desk]) -> None:
        self._desks = {path.encode(): desk for path, desk in desks.items()}
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._dated = b""

    def desk(self, path: bytes) -> Desk | None:
        """Return the desk for a path; None: there is none."""
        return self._desks.get(path)

    def dated(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the server's own headers as they are sent; it makes a new list every second."""
        if default_headers is not self._default_headers:
            self._default_headers = default_headers
            self._dated = _lines(default_headers)
        return self._dated

    def protocol(self, drain: Drain) -> type[HttpToolsProtocol]:
        """Return the protocol class to serve with.

        Args:
            drain: once it has begun, every answer is the framework's.
        """
        return type("FrontProtocol", (_Protocol,), {"front": self, "drain": drain})


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


class _NoEvent:
    """Stands where the server sets an event for an application that waits for it."""

    def set(self) -> None:
        """Nobody waits."""


class _Cycle:
    """A request that a desk has taken, as far as the server looks at it.

    It queues what is pipelined behind an incomplete one, and asks one to close its connection when
    the process stops.
    """

    __slots__ = ("_connection", "disconnected", "keep_alive", "response_complete")
    message_event: ClassVar[_NoEvent] = _NoEvent()

    def __init__(self, connection: _Protocol) -> None:
        self._connection = connection
        self.disconnected = False
        self.keep_alive = True
        self.response_complete = False

    def respond(self, answer: Written) -> None:
        """Send the answer."""
        self.response_complete = True
        connection = self._connection
        if connection.transport.is_closing():
            return
        connection.send(answer, close=not self.keep_alive)
        connection.on_response_complete()


class _Protocol(HttpToolsProtocol):
    """A connection.

    `HttpToolsProtocol` hears nothing of a request that a desk answers. One that is kept at first
    and then goes the framework's way is told to it as if it came then.
    """

    front: ClassVar[Front]
    drain: ClassVar[Drain]
    #: The present request was refused; what is left of its body is passed over.
    _refused = False
    #: The desk that is to take the present request, and its body so far.
    _keeping: Desk | None = None
    _body = b""

    def on_headers_complete(self) -> None:
        self._refused = False
        desk = self.front.desk(self.url)
        if desk is not None and self._is_plain():
            scope = cast("Scope", self.scope)
            refusal = desk.refusal(scope)
            if refusal is not None:
                self._refused = True
                self.send(refusal)
                return
            if self._is_small() and desk.is_open():
                self._keeping, self._body = desk, b""
                return
        super().on_headers_complete()

    def _is_plain(self) -> bool:
        """Whether this is a plain POST on a connection that stays open and has no other.

        And whose client is who is connected: a proxy's word is weighed by the framework's way.
        """
        return bool(
            self.parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and not self.drain.begun
            and not any(name == b"x-forwarded-for" for name, _ in self.headers)
        )

    def _is_small(self) -> bool:
        for name, value in self.headers:
            if name == b"content-length":
                return int(value) <= MOST_BYTES  # the parser lets only digits through
        return False

    def on_body(self, body: bytes) -> None:
        if self._keeping is not None:
            self._body += body
        elif not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused:
            self.on_response_complete()
        elif self._keeping is None:
            super().on_message_complete()
        else:
            self._ask()

    def _ask(self) -> None:
        desk, before = cast("Desk", self._keeping), self.cycle
        self.cycle = cycle = _Cycle(self)  # type: ignore[assignment] # what is looked at is there
        if desk.take(cast("Scope", self.scope), self._body, cycle.respond):
            self._keeping, self._body = None, b""
        else:
            self.cycle = before
            self._hand_over()
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._keeping is not None:  # the rest of the body is still to come, or never will
            self._hand_over()

    def _hand_over(self) -> None:
        body, self._keeping, self._body = self._body, None, b""
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def send(self, answer: Written, *, close: bool = False) -> None:
        """Write an answer."""
        dated = self.front.dated(self.server_state.default_headers)
        last = b"connection: close\r\n" if close else b""
        self.transport.write(b"".join((STATUS_LINE[answer.status], dated, last, answer.rest)))
        if close:
            self.transport.close()
