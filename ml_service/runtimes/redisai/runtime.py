"""The runtime on a RedisAI server: `redis.asyncio` on the event loop, `redisai.Client` in threads.

Both have a bounded pool of connections. redis-py replaces a connection that the server has closed,
and closes one whose reply is late or nobody's.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import redis
import redis.asyncio
from redis.connection import parse_url

from aimq.errors import InternalError, ModelMissing, ModelRefused, SettingsError
from aimq.settings import Settings
from ml_service.runtimes.port import Matrix, ModelFile, Predictions, Values
from ml_service.runtimes.redisai.commands import Client, execution, model_key, model_tag, vector
from ml_service.runtimes.redisai.error_mapping import errors_mapped

log = logging.getLogger(__name__)

#: Rows of one execution: some 50 ms of work, so that the timeout fits any matrix.
ROWS_PER_EXECUTION = 4096
#: Longest wait of a thread for a free connection, in seconds.
POOL_SECONDS: Final = 10.0
#: The server deletes a model that no process has loaded for this long, in seconds.
LEASE_SECONDS: Final = 3600


class RedisAiRuntime:
    """Executes models on a RedisAI server. Thread-safe; awaited on one event loop.

    Args:
        settings: ``redisai_url``, its timeouts and its number of connections.

    Raises:
        SettingsError: ``redisai_url`` is no such address, or names another database than 0.
    """

    name = "redisai"

    def __init__(self, settings: Settings) -> None:
        _check_url(settings.redisai_url)
        self._settings = settings
        self.timeout = settings.redisai_timeout_seconds
        most = settings.redisai_connections
        self._client = self._blocking_client(self.timeout, most)
        self._storing_client = self._blocking_client(settings.redisai_store_seconds, 1)
        self._store_lock = threading.Lock()
        self._async_pool = redis.asyncio.ConnectionPool.from_url(**self._options())
        self._async_client = redis.asyncio.Redis(connection_pool=self._async_pool)
        self._free = asyncio.Semaphore(most)
        self._loop: asyncio.AbstractEventLoop | None = None

    def load(self, file: ModelFile) -> RedisAiModel:
        """Store the model unless the server has it, renew its lease, and try it on one row.

        Raises:
            ModelRefused: damaged file, or the server cannot load or execute it.
            TransientError: the server cannot be reached, or does not answer in time.
        """
        self._store(file)
        model = RedisAiModel(self, file)
        model.predict(np.zeros((1, file.features), np.float32))
        return model

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._client.connection_pool.disconnect()
        self._storing_client.connection_pool.disconnect()
        if self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._async_pool.disconnect(), self._loop)

    def execute(self, arguments: list[Any]) -> Any:  # noqa: ANN401 - whatever the server sends
        """Send a command and return its reply. Blocks; raises errors of `aimq.errors`."""
        with errors_mapped():
            return self._client.execute_command(*arguments)

    async def execute_async(self, arguments: list[Any]) -> Any:  # noqa: ANN401 - as above
        """Do as `execute` on the event loop."""
        self._loop = asyncio.get_running_loop()
        async with self._free:
            with errors_mapped():
                async with asyncio.timeout(self.timeout):  # cheaper than socket_timeout
                    return await self._async_client.execute_command(*arguments)

    def _store(self, file: ModelFile) -> None:
        """Store a model unless the server has it, and renew its lease.

        The server answers nobody while it loads a model.
        """
        key, tag = model_key(file), model_tag(file)
        with self._store_lock, errors_mapped():
            if self._stored_tag(key) != tag:
                content = _content(file)
                self._storing_client.modelstore(key, "ONNX", "CPU", content, tag=tag)
                log.info("stored %s in RedisAI (%d bytes)", key, len(content))
            self._client.expire(key, LEASE_SECONDS)

    def _stored_tag(self, key: str) -> str | None:
        """Return the tag of a stored model; None if the key is free.

        Raises `ModelRefused` for a key of another type: storing there kills the server.
        """
        try:
            with errors_mapped():
                return str(self._client.modelget(key, meta_only=True)["tag"])
        except ModelMissing:
            return None

    def _blocking_client(self, timeout: float, most: int) -> Any:  # noqa: ANN401 - no types
        pool = redis.BlockingConnectionPool.from_url(
            **self._options(), max_connections=most, timeout=POOL_SECONDS, socket_timeout=timeout
        )
        return Client(connection_pool=pool)

    def _options(self) -> dict[str, Any]:
        url = self._settings.redisai_url
        return {
            "url": url,
            "socket_connect_timeout": self._settings.redisai_connect_seconds,
            "retry_on_error": [redis.ConnectionError],  # once: the server may have closed it
            # redis-py checks the certificate's issuer only, unless told to check the name.
            **({"ssl_check_hostname": True} if url.startswith("rediss:") else {}),
        }


class RedisAiModel:
    """A model on the server. Thread-safe; made by `RedisAiRuntime.load`."""

    waits = True

    def __init__(self, runtime: RedisAiRuntime, file: ModelFile) -> None:
        self._runtime = runtime
        self._file = file
        self._key = model_key(file)
        self._timeout_ms = max(int(runtime.timeout * 1000), 1)

    def predict(self, matrix: Matrix) -> Predictions:
        """See `Model.predict`; one round trip for each `ROWS_PER_EXECUTION` rows."""
        return self._joined(
            [
                vector(self._runtime.execute(self._execution(part)), part, self._file.outputs)
                for part in self._parts(matrix)
            ]
        )

    async def predict_async(self, matrix: Matrix) -> Predictions:
        """See `Model.predict_async`."""
        return self._joined(
            [
                vector(
                    await self._runtime.execute_async(self._execution(part)),
                    part,
                    self._file.outputs,
                )
                for part in self._parts(matrix)
            ]
        )

    def _execution(self, matrix: Matrix) -> list[Any]:
        return execution(self._key, matrix, self._timeout_ms)

    def _parts(self, matrix: Matrix) -> Iterator[Matrix]:
        if matrix.shape[1:] != (self._file.features,):
            raise InternalError(
                f"{self._key}: a matrix of shape {matrix.shape} was given to a model "
                f"of {self._file.features} features"
            )
        for start in range(0, len(matrix), ROWS_PER_EXECUTION):
            yield matrix[start : start + ROWS_PER_EXECUTION]

    def _joined(self, parts: list[Values]) -> Predictions:
        empty = np.empty(self._file.values_shape(0), np.float32)
        return Predictions(np.concatenate(parts) if parts else empty, RedisAiRuntime.name)


def _check_url(url: str) -> None:
    """Raise `SettingsError` if an address cannot be right.

    A server stores models in any database but executes those of database 0 only.
    """
    try:
        database = parse_url(url).get("db", 0)
    except ValueError as exc:
        raise SettingsError(f"AIMQ_REDISAI_URL: {exc}") from None
    if database != 0:
        raise SettingsError(
            f"AIMQ_REDISAI_URL names database {database}, but RedisAI executes models in "
            "database 0 only: end the address with /0."
        )


def _content(file: ModelFile) -> bytes:
    """Return a file's content, whose digest is checked again."""
    try:
        content = file.path.read_bytes()
    except OSError as exc:
        raise ModelRefused(f"{file.path}: cannot be read: {exc.strerror}") from exc
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ModelRefused(f"{file.path}: is no longer the file that was checked")
    return content
