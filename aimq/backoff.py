"""When to try again: exponential backoff with jitter. Pure; the random source is injected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how late a message is tried again.

    Attributes:
        max_attempts: attempts in all, the first included.
        base_seconds: nominal delay after the first failed attempt, in seconds.
        max_seconds: no nominal delay exceeds this, in seconds.
    """

    max_attempts: int
    base_seconds: float
    max_seconds: float

    def exhausted(self, attempts: int) -> bool:
        """True if no further attempt is allowed after `attempts` failures."""
        return attempts >= self.max_attempts

    def nominal(self, attempts: int) -> float:
        """Return the delay after `attempts` failures (1 or more) before jitter, in seconds."""
        exponent = min(max(attempts, 1) - 1, 62)  # 2**62 is beyond any maximum
        return min(self.base_seconds * 2.0**exponent, self.max_seconds)

    def delay(
        self, attempts: int, uniform: Callable[[], float], retry_after: float | None = None
    ) -> float:
        """Return how long to wait after `attempts` failures, in seconds.

        Half of the nominal delay is kept and half is drawn ("equal jitter", Brooker, "Exponential
        Backoff And Jitter", AWS Architecture Blog 2015), so that retries are spread out and never
        immediate. A longer ``Retry-After`` of the server wins, up to `max_seconds`.

        Args:
            attempts: failures so far, 1 or more.
            uniform: returns a number in [0, 1).
            retry_after: what the server asked for, in seconds.
        """
        nominal = self.nominal(attempts)
        jittered = nominal / 2 + uniform() * nominal / 2
        return max(jittered, min(retry_after or 0.0, self.max_seconds))


def parse_retry_after(value: str) -> float | None:
    """Return the seconds of a ``Retry-After`` header, None for any other form of it."""
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
