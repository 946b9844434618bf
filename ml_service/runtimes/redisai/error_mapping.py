"""What an error of the client library, of the system or of the server means for a prediction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from redis import exceptions as redis_errors

from aimq.errors import AimqError, MlUnavailable, ModelMissing, ModelRefused, TimedOut

_TIMED_OUT: Final = (redis_errors.TimeoutError, TimeoutError)
_NO_MODEL: Final = "model key is empty"
#: Error replies that say something about the server, not about the model.
_SERVER_REFUSES: Final = (
    redis_errors.OutOfMemoryError,
    redis_errors.ReadOnlyError,
    redis_errors.NoPermissionError,
)
_SERVER_REFUSES_TEXTS: Final = ("unknown command", "MISCONF ", "MASTERDOWN ")


@contextlib.contextmanager
def errors_mapped() -> Iterator[None]:
    """Raise the library's and the system's errors in the block as errors of `aimq.errors`."""
    try:
        yield
    except (redis_errors.RedisError, OSError) as exc:
        raise mapped(exc) from exc


def mapped(exc: Exception) -> AimqError:
    """Return the error of `aimq.errors` for one of the library, the system or the server.

    Errors of ONNX Runtime carry no prefix. So an error reply that concerns neither the server nor
    an absent model concerns the model.
    """
    if isinstance(exc, _TIMED_OUT):
        return TimedOut("RedisAI did not answer in time")
    if not isinstance(exc, redis_errors.ResponseError):
        return MlUnavailable(f"RedisAI cannot be reached: {exc}")
    text = str(exc)
    if _NO_MODEL in text:
        return ModelMissing("RedisAI no longer has the model")
    if isinstance(exc, _SERVER_REFUSES) or text.startswith(_SERVER_REFUSES_TEXTS):
        return MlUnavailable(f"RedisAI takes no commands of this kind: {text}")
    return ModelRefused(f"RedisAI refuses the model: {text}")
