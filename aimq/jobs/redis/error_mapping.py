"""Errors of the redis library as ours: one line that says what is wrong and what to do."""

from __future__ import annotations

from typing import Final

import redis
from redis import exceptions

from aimq.errors import StoreUnavailable

_LOGIN: Final = "refuses the login (check user and password of the URL)"
_MEMORY: Final = "is out of memory (raise maxmemory)"
#: A class of errors, a word of the message, and what they mean; the first that fits counts.
_REASONS: Final[tuple[tuple[type[redis.RedisError], str, str], ...]] = (
    (redis.AuthenticationError, "", _LOGIN),
    (redis.ResponseError, "NOAUTH", "needs a login (put user and password into the URL)"),
    (redis.ResponseError, "WRONGPASS", _LOGIN),
    (exceptions.NoPermissionError, "", "does not let this user do it (check its ACL)"),
    (redis.BusyLoadingError, "", "is still loading its data"),
    (redis.ReadOnlyError, "", "is a read-only replica (AIMQ_STORE_URL must name the primary)"),
    (exceptions.OutOfMemoryError, "", _MEMORY),
    (redis.ResponseError, "OOM", _MEMORY),
    (redis.ResponseError, "MISCONF", "cannot write to its disk"),
    (redis.TimeoutError, "", "did not answer within the time limit"),
    (redis.ConnectionError, "", "cannot be reached"),
    (redis.RedisError, "", "refused the command"),
)


def map_error(exc: redis.RedisError, address: str) -> StoreUnavailable:
    """Return our error for one of the library's. `address` is the server's, without credentials."""
    text = str(exc)
    meaning = next(said for kind, word, said in _REASONS if isinstance(exc, kind) and word in text)
    reason = " ".join(text.split())[:200] or type(exc).__name__
    return StoreUnavailable(f"Redis at {address} {meaning}: {reason}")
