"""Circuit breaker: when requests stop asking a server, and when a probe asks it again.

    closed ── `threshold` failures within `window` seconds, or `trip` ──> open
    open ── a probe failed ──> open, with twice the wait (up to `longest`)
    open ── a probe succeeded ──> closed

Pure policy (the pattern is Nygard's, "Release It!", 2007); the clock is injected. Requests read
`closed` and never probe. One caller probes when `seconds_to_probe` is 0 and reports the outcome.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Breaker:
    """Counts failures and says whether to ask. Thread-safe; no method blocks.

    Args:
        clock: monotonic time in seconds.
        threshold: failures within `window` that open it, 1 or more.
        window: age in seconds at which a failure no longer counts.
        cooldown: wait in seconds between opening and the first probe.
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
        self._cooldown = cooldown
        self._longest = longest
        self._lock = threading.Lock()
        self._failures: deque[float] = deque(maxlen=threshold)
        self._wait = cooldown
        self._probe_at: float | None = None

    @property
    def closed(self) -> bool:
        """True while requests may ask the server."""
        return self._probe_at is None

    def failed(self) -> None:
        """Count a call that failed. Does nothing while open: the call began before."""
        with self._lock:
            if not self.closed:
                return
            now = self._clock()
            self._failures.append(now)
            full = len(self._failures) == self._failures.maxlen
            if full and now - self._failures[0] < self._window:
                self._open(self._cooldown)

    def trip(self) -> None:
        """Open at once, with a probe due at once. Does nothing while open."""
        with self._lock:
            if self.closed:
                self._open(0.0)

    def seconds_to_probe(self) -> float | None:
        """Return the wait in seconds until a probe is due; None while closed."""
        due = self._probe_at
        return None if due is None else max(due - self._clock(), 0.0)

    def probe_failed(self) -> None:
        """Double the wait until the next probe. Does nothing while closed."""
        with self._lock:
            if not self.closed:
                self._wait = min(self._wait * 2, self._longest)
                self._probe_at = self._clock() + self._wait

    def probe_succeeded(self) -> None:
        """Close."""
        with self._lock:
            self._probe_at = None

    def _open(self, seconds_to_probe: float) -> None:
        self._failures.clear()
        self._wait = self._cooldown
        self._probe_at = self._clock() + seconds_to_probe
