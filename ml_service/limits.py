"""How much is let in, by how well it is going: additive increase, multiplicative decrease.

Pure policy. The scheme is that of TCP's congestion control (Chiu and Jain, "Analysis of the
Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks", 1989): what is let
in grows by a fixed step while the service is well and is used, and shrinks by a factor as soon as
it is not, which makes it settle near what can be served in time. The factor of the bound follows by
how much the target was missed: a turn four times too long is one of four times too many requests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What was seen since the last look.

    Attributes:
        latency: time of the slow ones among the quick answers, in seconds; 0 without any.
        lag: time of the slow ones among the turns of the event loop, in seconds: what a request
            waits before it is seen.
        waiting: most requests under way at one time.
    """

    latency: float
    lag: float
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is let in.

    Attributes:
        share: part of the configured rate that a client may use, above 0 and up to 1.
        concurrency: most requests under way at one time.
        slow_looks: unhealthy looks in a row that led here.
    """

    share: float
    concurrency: int
    slow_looks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Aimd:
    """The policy.

    Attributes:
        target: latency that is not to be exceeded, in seconds; a turn of the event loop may take
            half of it.
        least: the limits never fall below these,
        most: nor rise above these.
        share_step: added to the share at each healthy look.
        concurrency_step: added to the concurrency bound at each healthy look.
        decrease: the bound is multiplied by this at an unhealthy look, or by less,
        most_decrease: but not by less than this.
        share_decrease: the share is multiplied by this, from the `patience`-th unhealthy look in a
            row on. The bound keeps those who are let in from waiting, and recovers soon; cutting
            what a client was promised wants more proof than a neighbour who had the processor for
            a moment.
        patience: see `share_decrease`.
    """

    target: float
    least: Limits = Limits(share=0.05, concurrency=8)
    most: Limits = Limits(share=1.0, concurrency=512)
    share_step: float = 0.0125
    concurrency_step: int = 1
    decrease: float = 0.9
    most_decrease: float = 0.25
    share_decrease: float = 0.9
    patience: int = 12

    def start(self) -> Limits:
        """Return the limits of a service of which nothing is known yet."""
        return replace(self.most, concurrency=max(self.least.concurrency, 128))

    def healthy(self, health: Health) -> bool:
        """Tell whether what was seen is within the target, or is not for want of limits.

        Where no two requests were under way at a time, letting in fewer makes none faster: a
        model was being loaded, or a neighbour had the processor.
        """
        return health.waiting <= 1 or self._excess(health) <= 1

    def _excess(self, health: Health) -> float:
        """Return by how many times what was seen is above what is wanted."""
        return max(health.latency / self.target, health.lag / (self.target / 2))

    def next(self, now: Limits, health: Health) -> Limits:
        """Return the limits that follow from what was seen under the limits `now`."""
        if not self.healthy(health):
            slow_looks = now.slow_looks + 1
            share_cut = self.share_decrease if slow_looks >= self.patience else 1.0
            cut = max(self.most_decrease, min(self.decrease, 1 / self._excess(health)))
            return Limits(
                share=max(self.least.share, now.share * share_cut),
                concurrency=max(self.least.concurrency, int(now.concurrency * cut)),
                slow_looks=slow_looks,
            )
        used = 2 * health.waiting >= now.concurrency  # a bound that nobody reaches proves nothing
        step = self.concurrency_step if used or now.concurrency < self.start().concurrency else 0
        return Limits(
            share=min(self.most.share, now.share + self.share_step),
            concurrency=min(self.most.concurrency, now.concurrency + step),
        )
