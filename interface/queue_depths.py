"""How many messages wait in each queue, asked about once a second, and the bound on them."""

from __future__ import annotations

from typing import Final

from aimq.broker.port import Broker, QueueCounts
from aimq.broker.topology import UPLOADS, WEBHOOKS, WORK_QUEUES
from aimq.errors import BrokerUnavailable, Overloaded
from aimq.http.threads import ThreadPool
from interface.metrics import Metrics

#: Seconds after which a client may try again when a queue is past its bound.
_RETRY_AFTER: Final = 5.0


class QueueDepths:
    """Counts of the work queues. Belongs to one event loop.

    Attributes:
        counts: last counts by queue; empty while the broker cannot be asked.
        problem: why the broker cannot be asked; None when it can.
    """

    def __init__(self, broker: Broker, threads: ThreadPool, metrics: Metrics, bound: int) -> None:
        self._broker = broker
        self._threads = threads
        self._metrics = metrics
        self._bound = bound
        self._waiting = dict.fromkeys(WORK_QUEUES, 0)
        self.counts: dict[str, QueueCounts] = {}
        self.problem: str | None = "not asked yet"

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

        While the broker is away its depths are unknown and everything is admitted: the store
        keeps the jobs.
        """
        depth = self._waiting[queue]
        if depth >= self._bound:
            raise Overloaded(
                f"{depth:,} messages wait already; at most {self._bound:,} may. Try again later.",
                retry_after=_RETRY_AFTER,
            )
        self._waiting[queue] = depth + 1

    def empty(self) -> set[str]:
        """Return the queues that are known to have no message of a queued job.

        Messages that wait for a retry are of jobs in another state, but for webhooks.
        """
        return {
            queue
            for queue, counts in self.counts.items()
            if not counts.ready + counts.held + (counts.delayed if queue == WEBHOOKS else 0)
        }
