"""How much is let in, by how well it goes: additive increase, multiplicative decrease.

Pure policy. The scheme is that of TCP's congestion control (Chiu and Jain, "Analysis of the
Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks", 1989): what is let
in grows by a fixed step while the service is well, and shrinks by a factor as soon as it is not, so
that it settles near what can be served in time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What one sample saw.

    Attributes:
        lag: seconds by which the event loop was late.
        in_flight: most requests in flight at one time since the last sample.
    """

    lag: float
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is let in.

    Attributes:
        in_flight: most requests in flight at one time.
        share: part of the configured rate that a client may use, above 0 and up to 1.
    """

    in_flight: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimd:
    """The policy.

    Attributes:
        lag: seconds by which the event loop may be late.
        least: the limits never fall below these,
        most: nor rise above these.
        start: limits of a service of which nothing is known yet.
        step: requests by which the limit in flight grows at each healthy sample.
        decrease: factor of the limit in flight at each unhealthy sample.
        share_step: added to the share at each healthy sample.
        share_decrease: factor of the share at each unhealthy sample. Nearer to 1 than `decrease`:
            what a client was promised is not cut for a moment's lateness.
    """

    lag: float
    least: Limits = Limits(in_flight=32, share=0.05)
    most: Limits = Limits(in_flight=512, share=1.0)
    start: Limits = Limits(in_flight=128, share=1.0)
    step: int = 1
    decrease: float = 0.75
    share_step: float = 0.0125
    share_decrease: float = 0.99

    def is_healthy(self, health: Health) -> bool:
        """Return whether the service keeps up, or is late for another reason than its requests.

        Where no two requests were in flight at a time, letting in fewer makes none faster: a model
        was being loaded, or another program had the processor.
        """
        return health.in_flight <= 1 or health.lag <= self.lag

    def next(self, now: Limits, health: Health) -> Limits:
        """Return the limits that follow from what was seen under the limits `now`."""
        if not self.is_healthy(health):
            return Limits(
                in_flight=max(self.least.in_flight, int(now.in_flight * self.decrease)),
                share=max(self.least.share, now.share * self.share_decrease),
            )
        # A limit that nobody comes near says nothing of what lies above it.
        is_used = 2 * health.in_flight >= now.in_flight or now.in_flight < self.start.in_flight
        return Limits(
            in_flight=min(self.most.in_flight, now.in_flight + self.step * is_used),
            share=min(self.most.share, now.share + self.share_step),
        )
