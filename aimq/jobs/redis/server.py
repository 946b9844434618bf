"""The Redis server: a pool of connections, and the scripts that change jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from aimq.errors import StoreUnavailable
from aimq.jobs.redis.address import parse
from aimq.jobs.redis.error_mapping import map_error
from aimq.jobs.redis.record import SUMMARY

#: Longest wait for replicas, in milliseconds.
_REPLICATION_MS: Final = 2_000
_ONCE: Final = Retry(NoBackoff(), 0, (redis.ConnectionError,))
_TWICE: Final = Retry(NoBackoff(), 1, (redis.ConnectionError,))
_T = TypeVar("_T")

Argument = bytes | int | str


class RedisServer:
    """One server. Thread-safe; in a forked child it connects again.

    Args:
        url: see `aimq.jobs.redis.address`.

    Raises:
        SettingsError: the URL is malformed.
    """

    def __init__(self, url: str) -> None:
        self._client, self.address, self._replicas = parse(url)
        self._scripts: dict[str, Script] = {}

    def run(
        self,
        script: str,
        arguments: Sequence[Argument],
        *,
        again: bool = True,
        replicated: bool = False,
    ) -> Any:  # noqa: ANN401 - what the script returns
        """Run a script of ours, by its name in ``scripts``.

        Args:
            again: see `call`.
            replicated: return once as many replicas have it as the URL asks for.

        Raises:
            StoreUnavailable: see `call`; or it is done, but too few replicas have confirmed it.
        """
        registered = self._scripts.get(script)
        if registered is None:
            registered = self._client.register_script(_source(script))
            self._scripts[script] = registered
        if replicated and self._replicas:
            return self.call(lambda client: self._run_replicated(client, registered, arguments))
        return self.call(lambda _: registered(args=arguments), again=again)

    def _run_replicated(
        self, client: redis.Redis, script: Script, arguments: Sequence[Argument]
    ) -> Any:  # noqa: ANN401 - as above
        # WAIT counts what its own connection has written: a pipeline has one.
        with client.pipeline(transaction=False) as pipeline:
            script(args=arguments, client=pipeline)
            pipeline.wait(self._replicas, _REPLICATION_MS)
            answers = pipeline.execute(raise_on_error=False)  # the error would show the arguments
        for answer in answers:
            if isinstance(answer, redis.RedisError):
                raise answer
        if answers[1] < self._replicas:
            raise StoreUnavailable(
                f"Redis at {self.address}: only {answers[1]} of {self._replicas} replicas have "
                "confirmed the change in time."
            )
        return answers[0]

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
        self._client.connection_pool.disconnect()


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
