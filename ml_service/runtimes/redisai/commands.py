"""Keys, the command of a prediction, and how its reply is read. Pure: no connection, no clock.

One prediction is one ``AI.DAGEXECUTE_RO``: tensor in, execute, tensor out. The tensors live inside
the graph, so requests share no names and nothing stays in the keyspace.
"""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
from redis import exceptions as redis_errors

from aimq.errors import MlUnavailable, ModelRefused, TimedOut
from ml_service.runtimes.port import Matrix, ModelFile, Values
from ml_service.runtimes.redisai.error_mapping import mapped

with warnings.catch_warnings():  # redisai 1.3.0 imports pkg_resources, which warns at each start
    warnings.simplefilter("ignore")
    from redisai import Client
    from redisai.dag import Dag

__all__ = ["Client", "execution", "model_key", "model_tag", "vector"]

#: Prefix of our keys: a model stored over a key of another type kills the server.
PREFIX: Final = "aimq:model:"
_DIGEST_CHARACTERS: Final = 16
_DTYPES: Final = {b"FLOAT": np.float32, b"DOUBLE": np.float64}
#: The server compares arguments with the graph's separator up to their first zero byte, so it takes
#: a tensor whose bytes begin like this for a separator.
_LIKE_SEPARATOR: Final = b"|>\0"


def model_key(file: ModelFile) -> str:
    """Return the key of a model. Another digest has another key: versions live side by side."""
    digest = file.sha256[:_DIGEST_CHARACTERS]
    return f"{PREFIX}{file.name}:{file.version}:{file.group}:{digest}"


def model_tag(file: ModelFile) -> str:
    """Return the tag of a stored model: its version and its whole digest."""
    return f"{file.version}:{file.sha256}"


def execution(key: str, matrix: Matrix, timeout_ms: int) -> list[Any]:
    """Return the arguments of the command that predicts a matrix of at least one row.

    Args:
        key: the model's key.
        timeout_ms: after this the server drops a request that it has not begun, in milliseconds.
    """
    if _resembles_separator(matrix):
        matrix = np.vstack([np.zeros_like(matrix[:1]), matrix])
    graph = Dag(None, None, key, timeout_ms, None, readonly=True)
    graph.tensorset("in", matrix).modelexecute(key, "in", "out").tensorget("out")
    arguments: list[Any] = graph.commands[:-1]  # the last one is a separator
    return arguments


def _resembles_separator(matrix: Matrix) -> bool:
    return matrix[:1].tobytes().startswith(_LIKE_SEPARATOR)


def vector(reply: Any, matrix: Matrix, outputs: int = 1) -> Values:  # noqa: ANN401 - whatever the server sent
    """Return the predictions in the reply to the `execution` of `matrix`: (n,) or (n, outputs).

    Raises:
        TimedOut: the server dropped the request.
        ModelMissing, ModelRefused, MlUnavailable: see `mapped`, of an error inside the reply.
    """
    if reply == b"TIMEDOUT":
        raise TimedOut("RedisAI did not begin the execution in time")
    if not isinstance(reply, list) or not reply:
        raise MlUnavailable("RedisAI sent something else than the answer to an execution")
    for part in reply:
        if isinstance(part, redis_errors.ResponseError):
            raise mapped(part) from part
    values = _floats(reply[-1])
    added = int(_resembles_separator(matrix))
    if values.size != (len(matrix) + added) * outputs:
        raise ModelRefused(f"RedisAI answered {values.size} numbers for {len(matrix)} rows")
    shaped = values if outputs == 1 else values.reshape(-1, outputs)
    return shaped[added:].astype(np.float32, copy=False)


def _floats(fields: Any) -> Values:  # noqa: ANN401 - whatever the server sent
    try:
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        values: Values = np.frombuffer(found[b"blob"], _DTYPES[found[b"dtype"]])
    except (TypeError, KeyError, ValueError) as exc:
        raise ModelRefused("RedisAI's answer is no tensor of floats") from exc
    return values
