"""Connections on which nothing is asked are closed.

The server itself waits for ever for a first request, for the rest of its headers, and for what is
left of a body that was refused. Here each connection is idle unless a request on it is with the
application: it has an address and a time since when. The longest idle are closed after a while, and
sooner when there are more connections than the process may have files.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from typing import ClassVar, Final, NamedTuple, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

#: Longest time between two requests, and from a connection's first byte to the end of the headers.
IDLE_SECONDS: Final = 30.0
#: Files kept for other purposes than connections: models, database, log, Redis, broker.
_OTHER_FILES: Final = 200
_LEAST: Final = 50
_MOST: Final = 20_000
_NOT_GET: Final = (
    b'{"type":"about:blank","title":"Bad request","status":400,'
    b'"detail":"A WebSocket begins with GET."}'
)
_BAD_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(_NOT_GET), _NOT_GET)
)

Address = tuple[str, int]


class _Idle(NamedTuple):
    since: float
    transport: asyncio.Transport


class Connections:
    """ASGI middleware, the outermost, that knows the connections. Belongs to one event loop.

    Args:
        seconds: after which an idle connection is closed.
        most: connections at one time; beyond it the longest idle is closed, or else the new one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        seconds: float = IDLE_SECONDS,
        most: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._seconds = seconds
        self._most = _most_connections() if most is None else most
        self._clock = clock
        self._open: set[asyncio.Transport] = set()
        #: In the order in which they became idle.
        self._idle: dict[Address | None, _Idle] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; its connection is not idle until it is answered."""
        address = scope.get("client")
        idle = self._idle.pop(address, None)
        try:
            await self._app(scope, receive, send)
        finally:
            if idle is not None and scope["type"] == "http" and not idle.transport.is_closing():
                self._idle[address] = _Idle(self._clock(), idle.transport)

    def opened(self, transport: asyncio.Transport) -> None:
        """Count a connection, which is idle at first."""
        self._open.add(transport)
        self._idle[_address(transport)] = _Idle(self._clock(), transport)
        if len(self._open) > self._most:
            self._close(next(iter(self._idle)))

    def lost(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        self._open.discard(transport)
        self._idle.pop(_address(transport), None)

    def close_idle(self) -> None:
        """Close the connections that have been idle for too long."""
        latest = self._clock() - self._seconds
        while self._idle:
            address, idle = next(iter(self._idle.items()))
            if idle.since > latest:
                return
            self._close(address)

    def _close(self, address: Address | None) -> None:
        self._idle.pop(address).transport.abort()

    def http_protocol(self) -> type[HttpToolsProtocol]:
        """Return the protocol class of connections that are counted here."""
        return type("CountedHttp", (_HttpProtocol,), {"counted_by": self})

    def websocket_protocol(self) -> type[WebSocketsSansIOProtocol]:
        """Return the protocol class for those that become WebSockets."""
        return type("CountedWebSocket", (_WebSocketProtocol,), {"counted_by": self})


class _HttpProtocol(HttpToolsProtocol):
    counted_by: ClassVar[Connections]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.counted = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        super().connection_made(self.counted)
        self.counted_by.opened(self.counted)

    def connection_lost(self, exc: Exception | None) -> None:
        self.counted_by.lost(self.counted)
        super().connection_lost(exc)


class _WebSocketProtocol(WebSocketsSansIOProtocol):
    """Takes a connection over with its first request, which uvicorn hands on as bytes."""

    counted_by: ClassVar[Connections]
    began = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.counted = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.counted_by.lost(self.counted)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.began and not data.startswith(b"GET "):  # uvicorn would never answer it
            self.counted.write(_BAD_REQUEST)
            self.counted.close()
            return
        self.began = True
        super().data_received(data)


def _address(transport: asyncio.Transport) -> Address | None:
    """Return the client's address as uvicorn puts it into a scope."""
    peer = transport.get_extra_info("peername")
    return (str(peer[0]), int(peer[1])) if peer else None


def _most_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MOST if soft == resource.RLIM_INFINITY else soft - _OTHER_FILES
    return max(_LEAST, min(limit, _MOST))
