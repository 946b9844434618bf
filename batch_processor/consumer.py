"""Takes messages off one work queue and has the jobs done.

`Intake` reads messages and claims jobs, a handler does them, `Accounting` settles them. A job that
has killed a worker before, a suspect, is worked on alone in this process, so that it takes nobody
with it the next time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aimq.broker.port import Delivery, Subscription
from aimq.messages import Kind
from batch_processor import metrics, verdict
from batch_processor.accounting import Accounting, End
from batch_processor.handler import Ending, Stopped, Work
from batch_processor.intake import Intake
from batch_processor.workshop import Claimed, Held, Workshop

#: Longest uninterrupted wait for a message, in seconds.
_RECEIVE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Consumer:
    """Works on the messages of one subscription, with any number of threads in `run`."""

    def __init__(self, subscription: Subscription, shop: Workshop) -> None:
        self._subscription = subscription
        self._shop = shop
        self._accounting = Accounting(subscription, shop)
        self._intake = Intake(subscription, shop, self._accounting)
        self._limit = max(handler.limit for handler in shop.handlers.values())
        self._stopping = threading.Event()
        self._in_hand: dict[Work, Claimed] = {}

    def stop(self) -> None:
        """Take no more messages; `run` returns once what is held is settled."""
        self._stopping.set()
        self._subscription.close()

    def recall(self) -> None:
        """Ask the handlers to lay down what they have in hand."""
        for work in list(self._in_hand):
            work.recall()

    def abandon(self) -> None:
        """Hand back what is in hand still, over the heads of handlers that do not answer."""
        self._settle([(claimed, Stopped()) for claimed in list(self._in_hand.values())])

    def run(self) -> None:
        """Work until stopped. Survives whatever a message does short of killing the process."""
        while not self._stopping.is_set():
            deliveries = self._subscription.receive(self._limit, timeout=_RECEIVE_SECONDS)
            if not deliveries:
                continue
            try:
                self.process(deliveries)
            except Exception:
                # A bug of ours: what was not settled is postponed, so that it is not held for
                # ever. Settling twice is harmless: the second time resolves to False.
                logger.exception("Messages could not be accounted for; they are postponed")
                for delivery in deliveries:
                    self._subscription.defer(delivery, self._shop.policy.max_seconds)

    def process(self, deliveries: Sequence[Delivery]) -> None:
        """Handle deliveries and settle every one."""
        by_kind: dict[Kind, list[Held]] = {}
        for held in self._intake.read(deliveries):
            by_kind.setdefault(held.message.kind, []).append(held)
        for kind, group in by_kind.items():
            limit = self._shop.handlers[kind].limit
            for start in range(0, len(group), limit):
                self._process_group(kind, group[start : start + limit])

    def _process_group(self, kind: Kind, group: list[Held]) -> None:
        """Work on messages side by side with other threads, and on suspects alone afterwards.

        Whoever waits for the floor holds no claim: if the process dies meanwhile, only jobs that
        were worked on count it as a crash, so that a poison message takes no other with it.
        """
        with self._shop.floor.shared():
            claimed = self._claim(group)
            fresh = [one for one in claimed if not one.work.claim.crashes]
            suspects = [one for one in claimed if one.work.claim.crashes]
            if fresh:
                self._intake.lay_down(suspects)
                self._work(kind, fresh)
        if len(claimed) == len(suspects) == 1 and self._at_once(kind, suspects[0]):
            return
        if not fresh:
            self._intake.lay_down(suspects)
        for suspect in suspects:
            with self._shop.floor.alone():
                for again in self._claim([suspect.held]):
                    self._suspect(kind, again)

    def _claim(self, group: list[Held]) -> list[Claimed]:
        if self._stopping.is_set():
            for held in group:
                self._subscription.requeue(held.delivery)
            return []
        return self._intake.claim(group)

    def _at_once(self, kind: Kind, suspect: Claimed) -> bool:
        """Work on a suspect with the claim it has, if nobody else is on the floor."""
        with self._shop.floor.alone_if_free() as free:
            if free:
                self._suspect(kind, suspect)
        return free

    def _suspect(self, kind: Kind, suspect: Claimed) -> None:
        """Work on a job that killed a worker before, or not any more."""
        given_up = verdict.on_crashes(suspect.work.claim, self._shop.delivery_limit)
        if given_up is None:
            self._work(kind, [suspect])
        else:
            self._settle([(suspect, given_up)])

    def _work(self, kind: Kind, group: list[Claimed]) -> None:
        works = [claimed.work for claimed in group]
        with self._shop.leases.keep(works), self._taken_in_hand(group):
            with metrics.ACTIVE.labels(kind).track_inprogress():
                endings = self._handle(kind, works)
            self._settle(
                [
                    (claimed, self._accounting.judge(claimed.held, ending))
                    for claimed, ending in zip(group, endings, strict=True)
                ]
            )

    @contextmanager
    def _taken_in_hand(self, group: list[Claimed]) -> Iterator[None]:
        self._in_hand.update({claimed.work: claimed for claimed in group})
        try:
            yield
        finally:
            for claimed in group:
                self._in_hand.pop(claimed.work, None)

    def _handle(self, kind: Kind, works: list[Work]) -> Sequence[Ending]:
        with metrics.SECONDS.labels(kind).time():
            try:
                return self._shop.handlers[kind].handle(works)
            except BaseException as exc:  # noqa: BLE001 # not even this may lose a message
                return [exc] * len(works)

    def _settle(self, ends: list[tuple[Claimed, End]]) -> None:
        for claimed, _ in ends:
            self._in_hand.pop(claimed.work, None)
        self._accounting.settle(ends)
