"""Client of the ML service for an event loop: bytes in, bytes out, over kept connections.

A small HTTP/1.1 client of our own on `httptools`, the parser uvicorn uses: a relay needs none of
what a general client does, and its cost is most of what the interface adds to a prediction.
`benchmarks` and the tests hold it to the same behaviour as a general client: bounded time and
size, broken connections noticed, stale ones replaced.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from aimq.errors import AimqError, MlUnavailable, SettingsError
from aimq.ml_client.connection import Answer, Broken, Connection
from aimq.ml_client.slots import Slots

#: Most connections to the ML service at once; further requests wait for one.
MAX_CONNECTIONS: Final = 256
#: Requests that wait for a connection before the rest are refused.
MAX_WAITING: Final = 2048
#: A connection unused for longer is not used again: shorter than the server's own patience.
_IDLE_SECONDS: Final = 15.0
_CONNECT_SECONDS: Final = 2.0
_RETRY_AFTER: Final = 1.0

Headers = Sequence[tuple[bytes, bytes]]


#: Gets the answer, or why there is none.
Done = Callable[[Answer | AimqError], None]


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
        self._idle: list[Connection] = []
        self._slots = Slots(max_connections, MAX_WAITING)
        self._retries: set[asyncio.Task[None]] = set()
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

    def post_soon(self, path: bytes, body: bytes, headers: Headers, done: Done) -> bool:
        """Do as `post`, and call `done` with the outcome, if that can be begun without waiting.

        Returns:
            False where it cannot: `done` is not called then.
        """
        connection = self._take_idle()
        if connection is None:
            return False
        if not self._slots.take_now():
            self._idle.append(connection)
            return False
        request = self._request(b"POST", path, headers, body)

        def settle(outcome: Answer | Exception) -> None:
            if isinstance(outcome, Broken) and outcome.untouched:
                task = asyncio.get_running_loop().create_task(self._retry(request, done))
                self._retries.add(task)
                task.add_done_callback(self._retries.discard)
                return
            self._keep(connection)
            self._slots.give()
            done(outcome if isinstance(outcome, Answer) else _error(outcome))

        connection.begin(request, self._timeout, settle)
        return True

    async def _retry(self, request: bytes, done: Done) -> None:
        outcome: Answer | AimqError
        try:
            outcome = await self._send(request)
        except AimqError as exc:
            outcome = exc
        finally:
            self._slots.give()
        done(outcome)

    async def _exchange(self, method: bytes, path: bytes, headers: Headers, body: bytes) -> Answer:
        request = self._request(method, path, headers, body)
        await self._slots.take()
        try:
            return await self._send(request)
        finally:
            self._slots.give()

    def _request(self, method: bytes, path: bytes, headers: Headers, body: bytes) -> bytes:
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return b"%b %b%b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
            method, self._prefix, path, self._fixed, lines, len(body), body,
        )  # fmt: skip

    async def _send(self, request: bytes) -> Answer:
        while True:
            connection = self._take_idle()
            reused = connection is not None
            if connection is None:
                connection = await self._connect()
            try:
                answer = await self._ask(connection, request)
            except Broken as exc:
                if reused and exc.untouched:
                    continue  # the server closed it while it was idle
                raise _error(exc) from exc
            self._keep(connection)
            return answer

    async def _ask(self, connection: Connection, request: bytes) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def settle(outcome: Answer | Exception) -> None:
            if answer.done():  # cancelled: nobody keeps the connection
                return
            if isinstance(outcome, Answer):
                answer.set_result(outcome)
            else:
                answer.set_exception(outcome)

        connection.begin(request, self._timeout, settle)
        try:
            return await answer
        except BaseException:  # cancelled too, even with the answer there
            connection.close()
            raise

    def _keep(self, connection: Connection) -> None:
        """Put a connection by for the next request, if it is good for one."""
        if connection.reusable and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()

    def _take_idle(self) -> Connection | None:
        """Return the connection used last, which is the least likely to be stale."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(_IDLE_SECONDS):
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop), self._host, self._port, ssl=self._tls
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


def _error(exc: Exception) -> AimqError:
    """Return what an exchange's failure means to who asked."""
    if isinstance(exc, AimqError):
        return exc
    error = MlUnavailable(
        "The ML service broke off its answer; try again.", retry_after=_RETRY_AFTER
    )
    error.__cause__ = exc
    return error
