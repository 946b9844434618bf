"""The Redis server: a pool of connections, and the scripts that change jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from aimq.errors import SettingsError
from aimq.jobs.redis.error_mapping import map_error
from aimq.jobs.redis.record import SUMMARY

_OPTIONS: Final = {
    "max_connections": 64,
    "timeout": 5.0,  # for a free connection, in seconds
    "socket_connect_timeout": 2.0,
    "socket_timeout": 5.0,
    "socket_keepalive": True,
}
_ONCE: Final = Retry(NoBackoff(), 0, (redis.ConnectionError,))
_TWICE: Final = Retry(NoBackoff(), 1, (redis.ConnectionError,))
_T = TypeVar("_T")

Argument = bytes | int | str


class RedisServer:
    """One server. Thread-safe; in a forked child it connects again.

    Args:
        url: ``redis://user:password@host:port/database``, or ``rediss://`` for TLS with the
            server's certificate and name verified.

    Raises:
        SettingsError: the URL is malformed.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self.address = f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
            tls = {"ssl_check_hostname": True} if parts.scheme == "rediss" else {}
            self._pool = redis.BlockingConnectionPool.from_url(url, **_OPTIONS, **tls)
        except (ValueError, TypeError) as exc:
            raise SettingsError(f"AIMQ_STORE_URL: {exc}") from None
        self._client = redis.Redis(connection_pool=self._pool)
        self._scripts: dict[str, Script] = {}

    def run(self, script: str, arguments: Sequence[Argument], *, again: bool = True) -> Any:  # noqa: ANN401 - what the script returns
        """Run a script of ours, by its name in ``scripts``. See `call`."""
        registered = self._scripts.get(script)
        if registered is None:
            registered = self._client.register_script(_source(script))
            self._scripts[script] = registered
        return self.call(lambda _: registered(args=arguments), again=again)

    def call(self, command: Callable[[redis.Redis], _T], *, again: bool = True) -> _T:
        """Send a command and return its answer.

        Args:
            again: send it once more when the connection breaks before the answer is there; the
                command must then do nothing twice.

        Raises:
            StoreUnavailable: the server cannot be reached or refuses.
        """
        retry = _TWICE if again else _ONCE
        try:
            answer: _T = retry.call_with_retry(lambda: command(self._client), _raise_refusal)
        except redis.RedisError as exc:
            raise map_error(exc, self.address) from exc
        return answer

    def subscription(self) -> redis.client.PubSub:
        """Return a subscription to no channel yet, a context manager; its errors are unmapped."""
        return self._client.pubsub(ignore_subscribe_messages=True)

    def close(self) -> None:
        """End all connections. Idempotent; a later call would connect again."""
        self._pool.disconnect()


def _raise_refusal(exc: redis.RedisError) -> None:
    """Raise what the library takes for a broken connection although the server has answered."""
    if isinstance(exc, (redis.AuthenticationError, redis.BusyLoadingError)):
        raise exc


@cache
def _source(script: str) -> str:
    """Return a script with the names of the summary's fields and `record.lua` before it."""
    folder = resources.files("aimq.jobs.redis") / "scripts"
    fields = ", ".join(f"'{name}'" for name in SUMMARY)
    parts = [(folder / f"{name}.lua").read_text(encoding="utf-8") for name in ("record", script)]
    return "\n".join([f"local SUMMARY = {{ {fields} }}", *parts])
