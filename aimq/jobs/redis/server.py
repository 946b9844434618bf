"""The Redis server: connections, scripts, and its errors as ours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit

import redis

from aimq.errors import SettingsError, StoreUnavailable
from aimq.jobs.redis.record import SUMMARY

_CONNECTIONS: Final = 64
_POOL_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 5.0


class RedisServer:
    """A pool of connections to one server. Thread-safe; in a forked child it connects anew.

    A command takes one round trip. Scripts are called by digest, and loaded when the server does
    not know them (it was restarted).

    Args:
        url: ``redis://user:password@host:port/database``, or ``rediss://`` for TLS with the
            server's certificate and name verified.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address = f"{parts.hostname or 'localhost'}:{_port(url)}"
        tls = {"ssl_check_hostname": True} if parts.scheme == "rediss" else {}
        try:
            self._pool = redis.BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=_POOL_SECONDS,
                socket_connect_timeout=_CONNECT_SECONDS,
                socket_timeout=_ANSWER_SECONDS,
                socket_keepalive=True,
                **tls,
            )
        except (ValueError, TypeError) as exc:
            raise SettingsError(f"AIMQ_STORE_URL: {exc}") from None
        self._client = redis.Redis(connection_pool=self._pool)

    def run(self, script: str, arguments: Sequence[bytes | int | str], *, again: bool) -> Any:  # noqa: ANN401 - what the script returns
        """Run a script of ours.

        Args:
            script: its name in ``scripts``.
            again: it may be sent once more when the connection breaks before the answer is there;
                it must then do nothing twice.

        Raises:
            StoreUnavailable: the server cannot be reached or refuses.
        """
        digest, source = _script(script)
        try:
            return self.call("EVALSHA", digest, 0, *arguments, again=again)
        except StoreUnavailable as exc:
            if not isinstance(exc.__cause__, redis.exceptions.NoScriptError):
                raise
        self.call("SCRIPT LOAD", source)
        return self.call("EVALSHA", digest, 0, *arguments, again=again)

    def call(self, *command: bytes | int | str, again: bool = True) -> Any:  # noqa: ANN401 - as above
        """Send one command. See `run`."""
        try:
            return self._client.execute_command(*command)
        except redis.RedisError as exc:
            if not (again and _broken(exc)):
                raise self._unavailable(exc) from exc
        try:
            return self._client.execute_command(*command)
        except redis.RedisError as exc:
            raise self._unavailable(exc) from exc

    def subscribe(self, channel: str) -> redis.client.PubSub:
        """Return a subscription with a connection of its own.

        Raises:
            redis.RedisError: unmapped, as do its methods.
        """
        subscription = self._client.pubsub(ignore_subscribe_messages=True)
        try:
            subscription.subscribe(channel)
        except BaseException:
            subscription.close()
            raise
        return subscription

    def close(self) -> None:
        """End all connections. Idempotent; a later call would connect again."""
        self._pool.disconnect()

    def _unavailable(self, exc: redis.RedisError) -> StoreUnavailable:
        reason = " ".join(str(exc).split())[:200] or type(exc).__name__
        return StoreUnavailable(f"Redis at {self.address} {_advice(exc)}: {reason}")


def _broken(exc: redis.RedisError) -> bool:
    """Tell whether the connection broke, as against a refusal or silence of the server."""
    refusals = (redis.AuthenticationError, redis.BusyLoadingError)
    return isinstance(exc, redis.ConnectionError) and not isinstance(exc, refusals)


#: What a server's answer begins with, or how the library calls it, and what that means; the first
#: that fits counts.
_REASONS: Final[tuple[tuple[type[redis.RedisError], str, str], ...]] = (
    (redis.AuthenticationError, "", "refuses the login (check user and password of the URL)"),
    (redis.ResponseError, "NOAUTH", "needs a login (put user and password into the URL)"),
    (redis.ResponseError, "WRONGPASS", "refuses the login (check user and password of the URL)"),
    (redis.exceptions.NoPermissionError, "", "does not let this user do it (check its ACL)"),
    (redis.BusyLoadingError, "", "is still loading its data"),
    (redis.ReadOnlyError, "", "is a read-only replica (AIMQ_STORE_URL must name the primary)"),
    (redis.exceptions.OutOfMemoryError, "", "is out of memory (raise maxmemory)"),
    (redis.ResponseError, "OOM", "is out of memory (raise maxmemory)"),
    (redis.ResponseError, "MISCONF", "cannot write to its disk"),
    (redis.TimeoutError, "", f"did not answer within {_ANSWER_SECONDS:g} s"),
    (redis.ConnectionError, "", "cannot be reached"),
)


def _advice(exc: redis.RedisError) -> str:
    """Return what is wrong, in words that lead to what to do."""
    text = str(exc)
    for kind, word, meaning in _REASONS:
        if isinstance(exc, kind) and word in text:
            return meaning
    return "refused the command"


def _port(url: str) -> int:
    try:
        return urlsplit(url).port or 6379
    except ValueError as exc:
        raise SettingsError(f"AIMQ_STORE_URL: {exc}") from None


@cache
def _script(name: str) -> tuple[str, bytes]:
    """Return the digest and the source of a script, with `record.lua` before it."""
    folder = resources.files("aimq.jobs.redis") / "scripts"
    fields = ", ".join(f"'{field.decode()}'" for field in SUMMARY)
    source = (
        f"local SUMMARY = {{ {fields} }}\n"
        + (folder / "record.lua").read_text(encoding="utf-8")
        + (folder / f"{name}.lua").read_text(encoding="utf-8")
    ).encode()
    return hashlib.sha1(source, usedforsecurity=False).hexdigest(), source
