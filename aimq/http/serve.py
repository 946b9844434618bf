"""Runs an ASGI application: one clear line when the port is taken, SIGTERM drains."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Sequence
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from aimq.errors import SettingsError
from aimq.http.connections import IDLE_SECONDS, Connections
from aimq.http.drain import Drain, DrainingServer
from aimq.settings import Settings


def bind(host: str, port: int, variable: str) -> socket.socket:
    """Return a listening socket. Raises `SettingsError` with one line when it cannot be had.

    Args:
        variable: the setting that chooses the port, for the message.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(2048)
    except OSError as exc:
        sock.close()
        taken = exc.errno == errno.EADDRINUSE
        why = "is taken by another program" if taken else f"cannot be used ({exc.strerror})"
        raise SettingsError(f"Port {port} on {host} {why}; set {variable} to another.") from None
    return sock


def address(sock: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make_server(
    app: ASGIApp, settings: Settings, idle_seconds: float = IDLE_SECONDS
) -> DrainingServer:
    """Return a server of `app` that is not started.

    Args:
        idle_seconds: after which a connection on which nothing is asked is closed.
    """
    drain = Drain(app)
    trusted = sorted(settings.trusted_proxies)
    behind: Any = ProxyHeadersMiddleware(cast("Any", drain), trusted) if trusted else drain
    connections = Connections(behind, idle_seconds)
    config = uvicorn.Config(
        connections,
        http=connections.http_protocol(),
        log_config=None,
        access_log=False,
        lifespan="on",
        ws=connections.websocket_protocol(),
        ws_per_message_deflate=False,  # events are short: compressing costs more than sending
        timeout_graceful_shutdown=max(1, int(settings.shutdown_seconds - settings.drain_seconds)),
        timeout_keep_alive=int(IDLE_SECONDS),
        server_header=False,
        headers=[("X-Content-Type-Options", "nosniff")],
        proxy_headers=False,  # the connections must see whom they are with: see above
    )
    return DrainingServer(config, drain, settings.drain_seconds, each_tick=connections.close_idle)


def serve(app: ASGIApp, socks: Sequence[socket.socket], settings: Settings) -> None:
    """Serve `app` until SIGINT or SIGTERM; requests under way are finished first.

    SIGTERM withdraws readiness, and goes on answering for ``drain_seconds``; the rest of
    ``shutdown_seconds`` is for the requests that are under way then.

    Blocks; call it on the main thread, which gets the signals. Returns normally after either.
    """
    server = make_server(app, settings)
    # uvicorn raises the signal again once it has drained: SIGTERM must not end the process then,
    # before the caller has closed what it holds.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.run(sockets=list(socks))
    except KeyboardInterrupt:
        return
    if not server.started:
        raise SystemExit(3)
