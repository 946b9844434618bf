"""Circuit breaker: when to stop asking a server that does not answer, and when to ask again.

    closed ── `threshold` failures within `window` seconds, or `trip` ──> open
    open ── `cooldown` seconds, then `try_probe` ──> half-open
    half-open ── `succeeded` ──> closed
    half-open ── `failed` ──> open, with twice the cooldown (up to `longest`)

Pure policy (the pattern is Nygard's, "Release It!", 2007); the clock is injected. Requests ask
`closed` and never pay for finding out: whoever holds the probe that `try_probe` granted does.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum


class State(Enum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Counts failures and says whether to ask. Thread-safe; no method blocks.

    Args:
        clock: monotonic time in seconds.
        threshold: failures within `window` that open it, 1 or more.
        window: age in seconds at which a failure no longer counts.
        cooldown: first wait in seconds between opening and the first probe.
        longest: the wait doubles with each failed probe up to this, in seconds.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        threshold: int = 3,
        window: float = 10.0,
        cooldown: float = 0.5,
        longest: float = 15.0,
    ) -> None:
        self._clock = clock
        self._window = window
        self._first_cooldown = cooldown
        self._longest = longest
        self._lock = threading.Lock()
        self._failures: deque[float] = deque(maxlen=threshold)
        self._state = State.CLOSED
        self._cooldown = cooldown
        self._probe_at = 0.0

    @property
    def closed(self) -> bool:
        """Whether requests may ask the server."""
        return self._state is State.CLOSED

    @property
    def state(self) -> State:
        """The present state, for gauges and logs."""
        return self._state

    def failed(self) -> None:
        """Record that the server did not answer.

        Failures that arrive while open belong to calls begun before and change nothing.
        """
        with self._lock:
            now = self._clock()
            if self._state is State.HALF_OPEN:
                self._open(now, min(self._cooldown * 2, self._longest))
            elif self._state is State.CLOSED:
                self._failures.append(now)
                full = len(self._failures) == self._failures.maxlen
                if full and now - self._failures[0] < self._window:
                    self._open(now, self._first_cooldown)

    def trip(self) -> None:
        """Open at once: the server answers, but cannot serve until the probe has put it right.

        The first probe is due at once. Does nothing unless closed.
        """
        with self._lock:
            if self._state is State.CLOSED:
                self._open(self._clock(), 0.0)
                self._cooldown = self._first_cooldown

    def seconds_to_probe(self) -> float | None:
        """Return the wait in seconds until a probe is due; ``None`` unless open."""
        with self._lock:
            if self._state is not State.OPEN:
                return None
            return max(self._probe_at - self._clock(), 0.0)

    def try_probe(self) -> bool:
        """Grant one probe when it is due; its holder must call `succeeded` or `failed`."""
        with self._lock:
            if self._state is not State.OPEN or self._clock() < self._probe_at:
                return False
            self._state = State.HALF_OPEN
            return True

    def succeeded(self) -> None:
        """Record that the probe found the server fit; closes. Does nothing unless half-open."""
        with self._lock:
            if self._state is State.HALF_OPEN:
                self._state = State.CLOSED
                self._failures.clear()

    def _open(self, now: float, cooldown: float) -> None:
        self._state = State.OPEN
        self._cooldown = cooldown
        self._probe_at = now + cooldown
        self._failures.clear()
