"""Models executed by a RedisAI server, through the `redisai` client package."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import redis
import redis.asyncio

from aimq.errors import InternalError, ModelMissing, ModelRefused
from aimq.settings import Settings
from ml_service.runtimes.port import Matrix, ModelFile, Vector
from ml_service.runtimes.redisai_connections import Connections
from ml_service.runtimes.redisai_wire import (
    Client,
    Execution,
    checked_url,
    meaning,
    model_key,
    model_tag,
    vector,
)

log = logging.getLogger(__name__)

#: Rows of one execution: some 50 ms of work, so that the answer timeout fits any matrix.
ROWS_PER_EXECUTION = 4096
#: A model that nobody has asked to keep for this long leaves the server by itself, in seconds.
LEASE_SECONDS = 3600


class RedisAiRuntime:
    """Executes models on a RedisAI server. Thread-safe; usable from several event loops.

    Args:
        settings: ``redisai_url``, its timeouts and its number of connections.

    Raises:
        SettingsError: ``redisai_url`` is no such address, or names another database than 0.
    """

    name = "redisai"

    def __init__(self, settings: Settings) -> None:
        self._url = checked_url(settings.redisai_url)
        # The client library checks the certificate's issuer only.
        self._tls = {"ssl_check_hostname": True} if self._url.startswith("rediss:") else {}
        self._connect_seconds = settings.redisai_connect_seconds
        self._timeout = settings.redisai_timeout_seconds
        self._limit = settings.redisai_connections
        self._client = self._sync_client(self._timeout, self._limit)
        self._storing = self._sync_client(settings.redisai_store_seconds, 1)
        self._store_lock = threading.Lock()
        self._connector = redis.asyncio.ConnectionPool.from_url(
            self._url, socket_connect_timeout=self._connect_seconds, **self._tls
        )
        self._connections: dict[asyncio.AbstractEventLoop, Connections] = {}

    def load(self, model: ModelFile) -> RedisAiModel:
        """Store the model unless the server has it already, and try it on one row.

        Raises:
            ModelRefused: damaged file, or the server cannot load or execute it.
            TransientError: the server cannot be reached, or does not answer in time.
        """
        loaded = RedisAiModel(self, model, timeout_ms=max(int(self._timeout * 1000), 1))
        loaded.restore()
        return loaded

    def close(self) -> None:
        """Close every connection that is not in use. Idempotent."""
        self._client.connection_pool.disconnect()
        self._storing.connection_pool.disconnect()
        for loop, connections in list(self._connections.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(connections.disconnect)

    def execute(self, arguments: list[Any]) -> Any:  # noqa: ANN401 - whatever the server sends
        """Send a command and return its reply. Blocks; raises errors of `aimq.errors`."""
        try:
            return self._client.execute_command(*arguments)
        except (redis.RedisError, OSError) as exc:
            raise meaning(exc) from exc

    async def execute_async(self, arguments: list[Any]) -> Any:  # noqa: ANN401 - as above
        """Do as `execute` on the running event loop."""
        loop = asyncio.get_running_loop()
        connections = self._connections.get(loop) or self._connections_of(loop)
        try:
            return await connections.ask(arguments)
        except (redis.RedisError, OSError) as exc:
            raise meaning(exc) from exc

    def renew(self, key: str) -> bool:
        """Keep a stored model for another `LEASE_SECONDS`; false when it is not there."""
        return bool(self.execute(["EXPIRE", key, LEASE_SECONDS]))

    def store_unless_there(self, model: ModelFile, key: str) -> None:
        """Store a model that is absent or carries another tag. Blocks, and blocks the server.

        Raises:
            ModelRefused: the file is damaged, or the server refuses it.
            TransientError: the server cannot be reached, or does not answer in time.
        """
        with self._store_lock:
            if self._stored_tag(key) != model_tag(model):
                content = _verified_content(model)
                try:
                    self._storing.modelstore(key, "ONNX", "CPU", content, tag=model_tag(model))
                except (redis.RedisError, OSError) as exc:
                    raise meaning(exc) from exc
                log.info("stored %s in RedisAI (%d bytes)", key, len(content))
            self.renew(key)

    def _connections_of(self, loop: asyncio.AbstractEventLoop) -> Connections:
        for other in [other for other in self._connections if other.is_closed()]:
            del self._connections[other]
        connections = self._connections[loop] = Connections(
            self._connector.make_connection, limit=self._limit, timeout=self._timeout
        )
        return connections

    def _stored_tag(self, key: str) -> str | None:
        try:
            meta = self._client.modelget(key, meta_only=True)
        except (redis.RedisError, OSError) as exc:
            error = meaning(exc)
            if isinstance(error, ModelMissing):
                return None
            raise error from exc  # also a key of another type: storing there kills the server
        return str(meta["tag"])

    def _sync_client(self, timeout: float, limit: int) -> Any:  # noqa: ANN401 - publishes no types
        pool = redis.BlockingConnectionPool.from_url(
            self._url,
            max_connections=limit,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=self._connect_seconds,
            **self._tls,
        )
        return Client(connection_pool=pool)


class RedisAiModel:
    """A model on the server. Thread-safe; made by `RedisAiRuntime.load`."""

    def __init__(self, runtime: RedisAiRuntime, model: ModelFile, timeout_ms: int) -> None:
        self._runtime = runtime
        self._model = model
        self._key = model_key(model)
        self._execution = Execution(self._key, timeout_ms)

    def predict(self, matrix: Matrix) -> Vector:
        """See `LoadedModel.predict`; one round trip for each `ROWS_PER_EXECUTION` rows."""
        return _joined(
            [
                vector(self._runtime.execute(self._execution.arguments(part)), part)
                for part in self._parts(matrix)
            ]
        )

    async def predict_async(self, matrix: Matrix) -> Vector:
        """See `AsyncModel.predict_async`."""
        return _joined(
            [
                vector(await self._runtime.execute_async(self._execution.arguments(part)), part)
                for part in self._parts(matrix)
            ]
        )

    def restore(self) -> None:
        """Make sure that the server has the model and executes it; store it if need be. Blocks.

        Raises:
            ModelRefused: damaged file, or the server cannot load or execute it.
            TransientError: the server cannot be reached, or does not answer in time.
        """
        self._runtime.store_unless_there(self._model, self._key)
        self.predict(np.zeros((1, self._model.features), np.float32))

    def renew(self) -> bool:
        """Keep the model on the server; false when the server no longer has it. Blocks."""
        return self._runtime.renew(self._key)

    def close(self) -> None:
        """Leave the model to other processes and to the next start; its lease ends by itself."""

    def _parts(self, matrix: Matrix) -> Iterator[Matrix]:
        if matrix.shape[1:] != (self._model.features,):
            raise InternalError(
                f"{self._key}: a matrix of shape {matrix.shape} was given to a model "
                f"of {self._model.features} features"
            )
        matrix = np.asarray(matrix, np.float32)
        for start in range(0, len(matrix), ROWS_PER_EXECUTION):
            yield matrix[start : start + ROWS_PER_EXECUTION]


def _joined(parts: list[Vector]) -> Vector:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _verified_content(model: ModelFile) -> bytes:
    try:
        content = model.path.read_bytes()
    except OSError as exc:
        raise ModelRefused(f"{model.path}: cannot be read: {exc.strerror}") from exc
    if hashlib.sha256(content).hexdigest() != model.sha256:
        raise ModelRefused(f"{model.path}: is no longer the file that was checked")
    return content
