"""The first phase of a stop: requests are still answered, while readiness is withdrawn.

A load balancer takes a moment to notice that a process is ending. Requests still arrive until then,
and a refused one is a failed one. So readiness is withdrawn first, and every answer asks for its
connection to be closed: the client's next connection goes to another process.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

import msgspec
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aimq.freeze_gc import freeze_gc

_READY: Final = "/health/ready"
_CLOSE: Final = (b"connection", b"close")


class Drain:
    """ASGI middleware that withdraws readiness once `begin` was called. Thread-safe.

    Attributes:
        begun: `begin` was called.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.begun = False

    def begin(self) -> None:
        """Answer "not ready" from now on, and ask for every connection to be closed."""
        self.begun = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if not self.begun or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == _READY:
            await _stopping()(scope, receive, _closing(send))
            return
        await self._app(scope, receive, _closing(send))


class DrainingServer(uvicorn.Server):
    """A server that, asked to stop by SIGTERM, drains for a while before it stops listening.

    SIGINT (Ctrl-C) and a second SIGTERM stop it at once.

    Args:
        drain: begins to drain with the server.
        seconds: its length; 0: none.
        clock: seconds that never go back.
        each_tick: called ten times a second.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Drain,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        each_tick: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._seconds = seconds
        self._each_tick = each_tick
        self._clock = clock
        self._until: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; called by uvicorn."""
        await super().startup(sockets)
        freeze_gc()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal; called by uvicorn."""
        first = self._until is None and not self.should_exit
        if sig == signal.SIGTERM and first and self.started and self._seconds > 0:
            self._drain.begin()
            self._until = self._clock() + self._seconds
            return
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop; called by uvicorn ten times a second."""
        if self._each_tick is not None:
            self._each_tick()
        if self._until is not None and self._clock() >= self._until:
            self.should_exit = True
        return await super().on_tick(counter)


def _stopping() -> Response:
    body = {"status": "not ready", "problems": {"process": "This process is stopping."}}
    return Response(msgspec.json.encode(body), 503, media_type="application/json")


def _closing(send: Send) -> Send:
    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
        await send(message)

    return closing
