"""How deep the queues are, about once a second, and when they are too deep."""

from __future__ import annotations

from aimq.broker.port import Broker, QueueCounts
from aimq.broker.topology import UPLOADS, WORK_QUEUES
from aimq.errors import BrokerUnavailable, Overloaded
from interface.metrics import Metrics
from interface.threads import Threads

#: Seconds a client is asked to stay away when a queue is past its bound.
_RETRY_AFTER = 5.0


class Backlog:
    """Counts of the work queues, refreshed in the background. Belongs to one event loop."""

    def __init__(self, broker: Broker, threads: Threads, metrics: Metrics, bound: int) -> None:
        self._broker = broker
        self._threads = threads
        self._metrics = metrics
        self._bound = bound
        self._waiting = dict.fromkeys(WORK_QUEUES, 0)
        self.counts: dict[str, QueueCounts] = {}
        """Last counts by queue; empty while the broker cannot be asked."""
        self.problem: str | None = "not asked yet"
        """Why the broker cannot be asked; None when it can."""

    async def refresh(self) -> None:
        """Ask the broker. Raises `BrokerUnavailable`; the counts are unknown then."""
        try:
            for queue in WORK_QUEUES:
                self._note(queue, await self._threads.run(self._broker.counts, queue))
        except BrokerUnavailable as exc:
            self.counts.clear()
            self._waiting = dict.fromkeys(WORK_QUEUES, 0)
            self.problem = exc.detail
            self._metrics.up.labels("broker").set(0)
            raise
        self.problem = None
        self._metrics.up.labels("broker").set(1)

    def _note(self, queue: str, counts: QueueCounts) -> None:
        self.counts[queue] = counts
        self._waiting[queue] = counts.ready + counts.delayed
        for state in ("ready", "held", "delayed", "dead"):
            self._metrics.queue.labels(queue, state).set(getattr(counts, state))

    def admit(self, queue: str = UPLOADS) -> None:
        """Count one message more. Raises `Overloaded`, naming the depth, past the bound.

        While the broker is away nothing is known and everything is admitted: the store has it.
        """
        depth = self._waiting[queue]
        if depth >= self._bound:
            raise Overloaded(
                f"{depth:,} messages wait already; at most {self._bound:,} may. Try again later.",
                retry_after=_RETRY_AFTER,
            )
        self._waiting[queue] = depth + 1
