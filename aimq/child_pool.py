"""Child processes that work for a service, can be killed at any moment, and are kept for reuse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from aimq.errors import Overloaded, WorkerDied


class Child(Protocol):
    """One process. Used by one thread at a time, but for `kill`."""

    @property
    def alive(self) -> bool:
        """False if it ended while it was idle."""

    def kill(self) -> None:
        """End the process; a thread that waits for its answer is told."""

    def close(self) -> None:
        """End the process and release what it held. Idempotent."""


C = TypeVar("C", bound=Child)


class ChildPool(Generic[C]):
    """At most `count` processes. Nothing is started before it is needed. Thread-safe.

    Args:
        start: starts a process.
    """

    def __init__(self, start: Callable[[], C], count: int) -> None:
        self._start = start
        self._slots = threading.BoundedSemaphore(count)
        self._idle: list[C] = []
        self._busy: set[C] = set()
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def child(self, wait: float | None = None) -> Iterator[C]:
        """Lend a process for the length of a ``with`` block; one that fails is not kept.

        Args:
            wait: longest wait for a free one, in seconds; None waits for ever.

        Raises:
            Overloaded: none became free.
            WorkerDied: the pool is closed.
        """
        if not self._slots.acquire(timeout=-1 if wait is None else wait):
            raise Overloaded("No process became free.")
        try:
            child = self._take()
            keep = False
            try:
                yield child
                keep = True
            finally:
                self._put_back(child, keep=keep)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Kill every process; what is under way ends with `WorkerDied`. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for child in self._busy:
                child.kill()
        for child in idle:
            child.close()

    def _take(self) -> C:
        with self._lock:
            if self._closed:
                raise WorkerDied("The service is stopping.")
            child = self._idle.pop() if self._idle else self._start()
            if not child.alive:  # killed while it was idle
                child.close()
                child = self._start()
            self._busy.add(child)
            return child

    def _put_back(self, child: C, *, keep: bool) -> None:
        with self._lock:
            self._busy.discard(child)
            keep = keep and not self._closed
            if keep:
                self._idle.append(child)
        if not keep:
            child.close()
