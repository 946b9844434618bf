"""A read-write lock: held by many threads side by side, or by one exclusively."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """A lock with writer preference: while a thread waits for it exclusively, nobody else enters.

    Thread-safe. Not reentrant.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._exclusive = False
        self._waiting = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock side by side with other threads."""
        with self._changed:
            self._changed.wait_for(lambda: not self._exclusive and not self._waiting)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock alone. Yields False, without it, if `wait` is off and it is in use."""
        with self._changed:
            self._waiting += 1
            held = self._changed.wait_for(self._is_free, None if wait else 0.0)
            self._waiting -= 1
            self._exclusive |= held
            self._changed.notify_all()
        try:
            yield held
        finally:
            if held:
                with self._changed:
                    self._exclusive = False
                    self._changed.notify_all()

    def _is_free(self) -> bool:
        return not self._exclusive and not self._sharing
