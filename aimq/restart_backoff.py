"""When a dead service is started again. Pure; the clock is the caller's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class RestartBackoff:
    """Doubling delays between restarts; a service that lived long enough starts at the first one.

    Attributes:
        base_seconds: delay before the first restart, in seconds.
        max_seconds: longest delay, in seconds.
        forgive_seconds: a service that lived this long resets the count, in seconds.
    """

    base_seconds: float = 0.2
    max_seconds: float = 30.0
    forgive_seconds: float = 60.0
    deaths: int = 0

    def next_delay(self, lived_seconds: float) -> float:
        """Return how long to wait after a death, in seconds, given how long the service lived."""
        if lived_seconds >= self.forgive_seconds:
            self.deaths = 0
        delay = min(self.base_seconds * 2.0 ** min(self.deaths, 30), self.max_seconds)
        self.deaths += 1
        return delay
