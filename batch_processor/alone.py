"""Side by side, or alone: a lock that many share, or one has to itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """Many sharers, or one alone; who wants it alone goes before sharers to come. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharers = 0
        self._alone = False
        self._wanted_alone = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold it together with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._wanted_alone)
            self._sharers += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharers -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it with nobody else."""
        with self._changed:
            self._wanted_alone += 1
            try:
                self._changed.wait_for(lambda: not self._alone and not self._sharers)
            finally:
                self._wanted_alone -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    @contextmanager
    def alone_if_free(self) -> Iterator[bool]:
        """As `alone`, without waiting; False: others hold it or wait for it, nothing is held."""
        with self._changed:
            free = not (self._alone or self._sharers or self._wanted_alone)
            self._alone = self._alone or free
        try:
            yield free
        finally:
            if free:
                with self._changed:
                    self._alone = False
                    self._changed.notify_all()


class Apart(SharedLock):
    """As `SharedLock`, for work that is apart anyway, in a process of its own: no waiting."""

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold it."""
        yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it."""
        yield

    @contextmanager
    def alone_if_free(self) -> Iterator[bool]:
        """Hold it."""
        yield True
