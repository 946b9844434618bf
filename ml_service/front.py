"""Requests are refused, and quick ones answered, where the server parses them.

Under overload most requests are refused, so what a refusal costs decides how soon they are told,
and how much is left for those that are let in. The server's protocol asks the gate as soon as the
headers are there, before the body is read; a refusal is bytes made beforehand, written at once.

A record that the event loop may predict is answered as soon as its body is complete: a task, a walk
through the framework and the messages between server and application cost more than the
prediction. Whatever takes waiting goes the framework's way, admitted already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import ClassVar, Final, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from aimq.errors import AimqError, Overloaded, RateLimited, Unauthorized
from aimq.http.drain import Drain
from ml_service import bodies
from ml_service.admission import Gate
from ml_service.endpoint import Endpoint, Reply, problem_reply

#: Largest body that is answered here, in bytes: many times a record, and parsed in microseconds.
MOST_BYTES: Final = 16 * 1024


class Front:
    """Answers requests for some paths before the framework. Belongs to the event loop.

    Args:
        gate: decides who is let in; that of every endpoint.
        endpoints: path to what answers POST there.
    """

    def __init__(self, gate: Gate, endpoints: Mapping[str, Endpoint]) -> None:
        self._gate = gate
        self._endpoints = {path.encode(): endpoint for path, endpoint in endpoints.items()}
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._dated = b""

    def endpoint(self, path: bytes) -> Endpoint | None:
        """Return what answers POST at a path; None: the framework does."""
        return self._endpoints.get(path)

    def refusal(self, endpoint: Endpoint, scope: Scope) -> tuple[int, bytes] | None:
        """Return the status that refuses a request, and the answer after the date; or admit it."""
        try:
            self._gate.enter_early(scope)
        except Unauthorized:
            return None  # the endpoint says so
        except (RateLimited, Overloaded) as exc:
            endpoint.stats.refused(exc.status)
            wait = max(1, math.ceil(exc.retry_after or 1))
            headers = tuple(self._gate.headers(exc).items())
            kind: Callable[..., AimqError] = type(exc)
            return exc.status, _refusal(kind, exc.detail, wait, headers)
        return None

    def dated(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the server's own headers as they are sent; it makes a new list every second."""
        if default_headers is not self._default_headers:
            self._default_headers = default_headers
            self._dated = _lines(default_headers)
        return self._dated

    def protocol(self, drain: Drain) -> type[HttpToolsProtocol]:
        """Return the protocol class to serve with.

        Args:
            drain: once it has begun, answers are its business.
        """
        return type("FrontProtocol", (_Protocol,), {"front": self, "drain": drain})


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def _written(reply: Reply) -> bytes:
    lines = _lines(reply.headers)
    return b"%bcontent-length: %d\r\n\r\n%b" % (lines, len(reply.body), reply.body)


@lru_cache(maxsize=256)
def _refusal(
    kind: Callable[..., AimqError], detail: str, wait: int, headers: tuple[tuple[str, str], ...]
) -> bytes:
    return _written(problem_reply(kind(detail, retry_after=wait), dict(headers)))


class _Protocol(HttpToolsProtocol):
    """A connection.

    What this does with a request that it answers itself, `HttpToolsProtocol` never hears of. One
    that it keeps at first and then hands over is told to `HttpToolsProtocol` as if it came then.
    """

    front: ClassVar[Front]
    drain: ClassVar[Drain]
    #: The present request was refused; what is left of its body is passed over.
    _refused = False
    #: The endpoint that is to answer the present request, and its body so far.
    _keeping: Endpoint | None = None
    _body = b""

    def on_headers_complete(self) -> None:
        self._refused = False
        endpoint = self.front.endpoint(self.url)
        if endpoint is not None and self._is_plain():
            scope = cast("Scope", self.scope)
            refusal = self.front.refusal(endpoint, scope)
            if refusal is not None:
                self._refused = True
                self._send(*refusal)
                return
            if endpoint.is_immediate and self._is_small():
                scope["path"] = self.url.decode("ascii")
                self._keeping, self._body = endpoint, b""
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
        declared = bodies.header(cast("Scope", self.scope), b"content-length")
        return bool(declared) and int(declared) <= MOST_BYTES

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
            reply = self._keeping.at_once(cast("Scope", self.scope), self._body)
            if reply is None:
                self._hand_over()
                super().on_message_complete()
            else:
                self._keeping = None
                self._send(reply.status, _written(reply))
                self.on_response_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._keeping is not None:  # the rest of the body is still to come, or never will
            self._hand_over()

    def _hand_over(self) -> None:
        body, self._keeping, self._body = self._body, None, b""
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _send(self, status: int, rest: bytes) -> None:
        dated = self.front.dated(self.server_state.default_headers)
        self.transport.write(b"".join((STATUS_LINE[status], dated, rest)))
