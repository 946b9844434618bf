"""Client of the ML service for an event loop: bytes in, bytes out, over kept connections.

`connection` speaks HTTP/1.1 with `httptools`, the parser that uvicorn uses. aiohttp and httpcore
were measured in its place: a relayed prediction would cost more than the interface may add.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from aimq.errors import MlUnavailable, Overloaded, SettingsError, TimedOut
from aimq.ml_client.connection import ConnectionBroken, MlAnswer, MlConnection

#: Most connections to the ML service at once; further requests wait for one.
MAX_CONNECTIONS: Final = 256
#: Requests that wait for a connection before the rest are refused.
MAX_WAITING: Final = 2048
_CONNECT_SECONDS: Final = 2.0
_RETRY_AFTER: Final = 1.0

Headers = Sequence[tuple[bytes, bytes]]


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
        self._idle: list[MlConnection] = []
        self._slots = asyncio.Semaphore(max_connections)
        self._under_way = 0
        self._max_under_way = max_connections + MAX_WAITING
        self._closed = False

    async def get(self, path: bytes) -> MlAnswer:
        """GET a path. Raises as `post`."""
        return await self._ask(b"GET", path, (), b"")

    async def post_once(self, path: bytes, body: bytes, headers: Headers = ()) -> MlAnswer:
        """POST a body to a path that must not be asked twice; takes a new connection.

        Arguments and errors are those of `post`.
        """
        return await self._ask(b"POST", path, headers, body, once=True)

    async def post(self, path: bytes, body: bytes, headers: Headers = ()) -> MlAnswer:
        """POST a body to a path that may be asked twice, and return whatever it answers.

        A connection that turns out to be stale is replaced and the request sent once more.

        Args:
            headers: names and values, already free of line breaks.

        Raises:
            MlUnavailable: refused, cut off, or not understood.
            TimedOut: no complete answer in time.
            Overloaded: too many requests wait already.
        """
        return await self._ask(b"POST", path, headers, body)

    async def _ask(
        self, method: bytes, path: bytes, headers: Headers, body: bytes, *, once: bool = False
    ) -> MlAnswer:
        if self._under_way >= self._max_under_way:
            raise Overloaded("Too many requests wait for the ML service.", retry_after=_RETRY_AFTER)
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        request = b"%b %b%b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
            method, self._prefix, path, self._fixed, lines, len(body), body,
        )  # fmt: skip
        self._under_way += 1
        try:
            async with self._slots:
                return await self._send(request, once=once)
        finally:
            self._under_way -= 1

    async def _send(self, request: bytes, *, once: bool) -> MlAnswer:
        while True:
            kept = None if once else self._take_idle()
            connection = kept or await self._connect()
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await connection.exchange(request)
            except TimeoutError:
                waited = f"{self._timeout:g} s"
                raise TimedOut(f"The ML service did not answer within {waited}.") from None
            except ConnectionBroken as exc:
                if kept and exc.untouched:
                    continue  # the server closed it while it was idle
                raise MlUnavailable(
                    "The ML service broke off its answer; try again.", retry_after=_RETRY_AFTER
                ) from exc
            if connection.reusable and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()
            return answer

    def _take_idle(self) -> MlConnection | None:
        """Return the connection used last, which is the least likely to be stale."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:  # false once the server has closed it
                return connection
        return None

    async def _connect(self) -> MlConnection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    MlConnection, self._host, self._port, ssl=self._tls
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
