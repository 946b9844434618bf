"""The keys of one database: strings, tensors and models, with expiry."""

from __future__ import annotations

import time
from typing import TypeVar

import numpy as np
from redisai_server.models import Model
from redisai_server.resp import WRONGTYPE, Failure

Value = bytes | np.ndarray | Model
T = TypeVar("T", bytes, np.ndarray, Model)


class Keyspace:
    """Lives on the event loop."""

    def __init__(self) -> None:
        self._values: dict[bytes, Value] = {}
        self._expires: dict[bytes, float] = {}

    @property
    def values(self) -> dict[bytes, Value]:
        """What has not expired."""
        now = time.monotonic()
        for key in [key for key, at in self._expires.items() if at <= now]:
            self.delete(key)
        return self._values

    def get(self, key: bytes, kind: type[T]) -> T | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, kind):
            raise Failure(WRONGTYPE)
        return value

    def put(self, key: bytes, value: Value) -> None:
        """Store, replacing whatever is there and its expiry."""
        self._values[key] = value
        self._expires.pop(key, None)

    def delete(self, key: bytes) -> bool:
        self._expires.pop(key, None)
        return self._values.pop(key, None) is not None

    def expire(self, key: bytes, seconds: int) -> bool:
        if key not in self.values:
            return False
        self._expires[key] = time.monotonic() + seconds
        return True

    def ttl(self, key: bytes) -> int:
        if key not in self.values:
            return -2
        at = self._expires.get(key)
        return -1 if at is None else round(at - time.monotonic())

    def model(self, key: bytes) -> Model:
        model = self.get(key, Model)
        if model is None:
            raise Failure("ERR model key is empty")
        return model

    def tensor(self, key: bytes) -> np.ndarray:
        array = self.get(key, np.ndarray)
        if array is None:
            raise Failure("ERR tensor key is empty or in a different shard")
        return array
