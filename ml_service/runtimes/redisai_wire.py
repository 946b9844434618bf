"""What is said to RedisAI and what its answers mean. Pure: no connection, no clock.

One prediction is one ``AI.DAGEXECUTE_RO``: tensor in, execute, tensor out. The tensors' names live
inside the graph, so that requests cannot meet each other's and nothing stays in the keyspace. The
commands are built by the `redisai` client package.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from redis import exceptions as redis_errors
from redis.connection import parse_url

from aimq.errors import (
    AimqError,
    MlUnavailable,
    ModelMissing,
    ModelRefused,
    SettingsError,
    TimedOut,
)
from ml_service.runtimes.port import Matrix, ModelFile, Vector

with warnings.catch_warnings():  # redisai 1.3.0 imports pkg_resources, which warns at each start
    warnings.simplefilter("ignore")
    from redisai import Client, command_builder
    from redisai.dag import Dag

__all__ = ["Client", "Execution", "checked_url", "meaning", "model_key", "model_tag", "vector"]

#: Every key of ours begins with this: a model stored over a key of another type kills the server.
PREFIX = "aimq:model:"
DIGEST_CHARACTERS = 16
TIMED_OUT = (redis_errors.TimeoutError, TimeoutError)
NO_MODEL = "model key is empty"
#: Error replies that say something about the server, not about the model.
SERVER_REFUSES = (
    redis_errors.OutOfMemoryError,
    redis_errors.ReadOnlyError,
    redis_errors.NoPermissionError,
)
SERVER_REFUSES_TEXTS = ("unknown command", "MISCONF ", "MASTERDOWN ")
DTYPES = {b"FLOAT": np.float32, b"DOUBLE": np.float64}


def checked_url(url: str) -> str:
    """Return the address of a server as it was given.

    A server stores models in any database but executes those of database 0 only.

    Raises:
        SettingsError: it is no address, or names another database.
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
    return url


def model_key(model: ModelFile) -> str:
    """Return the key of a model: another digest has another key, so versions live side by side."""
    digest = model.sha256[:DIGEST_CHARACTERS]
    return f"{PREFIX}{model.name}:{model.version}:{model.group}:{digest}"


def model_tag(model: ModelFile) -> str:
    """Return the tag a stored model carries: its version and its whole digest."""
    return f"{model.version}:{model.sha256}"


#: The graph's separator. A server compares arguments up to their first zero byte, so that a tensor
#: whose bytes begin so would be taken for one.
SEPARATOR = "|>"
LIKE_SEPARATOR = SEPARATOR.encode() + b"\0"


class Execution:
    """Builds the command that executes one model. `vector` reads the reply.

    Args:
        key: the model's key.
        timeout_ms: after this the server forgets the request if it has not begun it, in ms.
    """

    def __init__(self, key: str, timeout_ms: int) -> None:
        graph = Dag(None, None, key, timeout_ms, None, readonly=True)
        self._before: list[Any] = graph.commands
        self._after: list[Any] = [
            SEPARATOR,
            *command_builder.modelexecute(key, "in", "out", None),
            SEPARATOR,
            *command_builder.tensorget("out"),
        ]

    def arguments(self, matrix: Matrix) -> list[Any]:
        """Return the command's arguments for a matrix of at least one row."""
        if _resembles_separator(matrix):
            matrix = np.vstack([np.zeros_like(matrix[:1]), matrix])
        tensor = command_builder.tensorset("in", matrix)
        return [*self._before, *tensor, *self._after]


def _resembles_separator(matrix: Matrix) -> bool:
    return matrix[:1].tobytes().startswith(LIKE_SEPARATOR)


def vector(reply: Any, matrix: Matrix) -> Vector:  # noqa: ANN401 - whatever the server sent
    """Return the predictions in the reply to an `Execution` on `matrix`.

    Raises:
        TimedOut: the server gave the request up.
        ModelMissing, ModelRefused, MlUnavailable: what `meaning` makes of an error inside.
    """
    if reply == b"TIMEDOUT":
        raise TimedOut("RedisAI did not begin the execution in time")
    if not isinstance(reply, list) or not reply:
        raise MlUnavailable("RedisAI sent something else than the answer to an execution")
    for part in reply:
        if isinstance(part, redis_errors.ResponseError):
            raise meaning(part) from part
    fields = reply[-1]
    try:
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        values = np.frombuffer(found[b"blob"], DTYPES[found[b"dtype"]])
    except (TypeError, KeyError, ValueError) as exc:
        raise ModelRefused("RedisAI's answer is no tensor of floats") from exc
    added = int(_resembles_separator(matrix))
    if values.size != len(matrix) + added:
        raise ModelRefused(f"RedisAI answered {values.size} numbers for {len(matrix)} rows")
    return values[added:].astype(np.float32, copy=False)


def meaning(exc: BaseException) -> AimqError:
    """Return our error for one of the client library, of the system, or of the server.

    Errors of ONNX Runtime carry no prefix, so an error reply that speaks neither of the server nor
    of an absent model is taken as the model's.
    """
    if isinstance(exc, AimqError):
        return exc
    if isinstance(exc, TIMED_OUT):
        return TimedOut("RedisAI did not answer in time")
    if isinstance(exc, redis_errors.ResponseError):
        return _meaning_of_reply(exc)
    return MlUnavailable(f"RedisAI cannot be reached: {exc}")


def _meaning_of_reply(exc: redis_errors.ResponseError) -> AimqError:
    text = str(exc)
    if NO_MODEL in text:
        return ModelMissing("RedisAI no longer has the model")
    if isinstance(exc, SERVER_REFUSES) or text.startswith(SERVER_REFUSES_TEXTS):
        return MlUnavailable(f"RedisAI takes no commands of this kind: {text}")
    return ModelRefused(f"RedisAI refuses the model: {text}")
