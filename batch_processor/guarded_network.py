"""Connections that go to public addresses only, within one bounded time, for `httpcore`.

The name is resolved here and the address that was checked is the one connected to. Were it
resolved once for the check and again for the connection, a name server could answer with a public
address first and with one of ours then (DNS rebinding).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore

from aimq.errors import ClientError
from aimq.webhooks.address import is_public


class GuardedNetwork(httpcore.NetworkBackend):
    """Opens connections for one exchange. Not thread-safe.

    Args:
        seconds: for everything: connecting, sending and receiving, however slowly bytes drip.
        allow_private: connect wherever the name leads.
    """

    def __init__(self, seconds: float, *, allow_private: bool) -> None:
        self._deadline = time.monotonic() + seconds
        self._allow_private = allow_private
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 # the deadline is what counts
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to a name or an address.

        Raises:
            ClientError: one of its addresses is not public.
            httpcore.ConnectError: it has no address, or none answers.
        """
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._addresses(host, port):
            try:
                stream = self._plain.connect_tcp(
                    address, port, left(self._deadline), local_address, socket_options
                )
            except httpcore.ConnectError as exc:
                failure = exc
            else:
                return _Bounded(stream, self._deadline)
        raise failure

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {exc}") from exc
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._allow_private and not all(map(is_public, addresses)):
            raise ClientError(
                f"The callback URL's host {host[:200]!r} leads to a loopback, private or "
                "link-local address, where no webhook is sent."
            )
        return addresses


class _Bounded(httpcore.NetworkStream):
    """A stream whose every step ends by the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, left(self._deadline))
        return _Bounded(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 # httpcore's
        return self._stream.get_extra_info(info)


def left(deadline: float) -> float:
    """Return the seconds until a deadline. Raises `httpcore.ReadTimeout` once it is past."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise httpcore.ReadTimeout("out of time")
    return seconds
