"""From deliveries to claimed jobs; what cannot get that far is settled here."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from aimq.broker.port import Delivery, Failure, Subscription
from aimq.errors import AimqError, MessageRejected
from aimq.jobs.job import Status
from aimq.jobs.port import Outcome, Refused
from aimq.messages import Kind, Message, decode
from batch_processor import metrics, verdict
from batch_processor.accounting import Accounting
from batch_processor.handler import Handler, Work
from batch_processor.webhooks import announcement
from batch_processor.workshop import Claimed, Held, Workshop

logger = logging.getLogger(__name__)


class Intake:
    """Reads the messages of one subscription and claims their jobs. Thread-safe."""

    def __init__(self, subscription: Subscription, shop: Workshop, accounting: Accounting) -> None:
        self._subscription = subscription
        self._shop = shop
        self._accounting = accounting
        self._store_failures = 0

    def read(self, deliveries: Sequence[Delivery]) -> list[Held]:
        """Return the messages; those that nobody here can process go to the dead letters."""
        return [held for delivery in deliveries if (held := self._read(delivery))]

    def claim(self, group: Sequence[Held]) -> list[Claimed]:
        """Claim the jobs of messages; the messages of which that cannot be are settled."""
        shop = self._shop
        try:
            answers = shop.store.claim(
                [held.message.job_id for held in group], shop.owner, shop.lease_seconds
            )
        except AimqError as exc:
            self._store_away([held.delivery for held in group], exc)
            return []
        self._store_failures = 0
        claimed = []
        for held, answer in zip(group, answers, strict=True):
            if isinstance(answer, Refused):
                self._refused(held, answer)
            else:
                claimed.append(Claimed(held, Work(answer, shop.store)))
        return claimed

    def lay_down(self, claimed: Sequence[Claimed]) -> None:
        """Give claims back, keeping the messages. Where that fails they run out by themselves."""
        if not claimed:
            return
        try:
            self._shop.store.settle(
                [Outcome(claim=one.work.claim, status=Status.QUEUED) for one in claimed]
            )
        except AimqError as exc:
            logger.warning("Claims run out by themselves: %s", exc.detail)

    def _read(self, delivery: Delivery) -> Held | None:
        try:
            return Held(delivery, _readable(delivery.body, self._shop.handlers))
        except MessageRejected as exc:
            self._reject(delivery, exc)
            return None

    def _reject(self, delivery: Delivery, exc: MessageRejected) -> None:
        """Dead-letter a message nobody can process; a job it may have been for fails with it."""
        failure = Failure(
            error=exc.detail[: verdict.MAX_ERROR],
            error_type=type(exc).__name__,
            unprocessable=True,
        )
        try:
            if delivery.message_id:
                job = self._shop.store.fail(delivery.message_id, failure.error)
                if job is not None and job.callback_url:
                    self._shop.store.create([announcement(job)])  # the sweep publishes it
        except AimqError as away:
            self._store_away([delivery], away)
            return
        logger.warning("Message %r is dead-lettered: %s", delivery.message_id[:64], exc.detail)
        self._subscription.dead_letter(delivery, failure)
        metrics.MESSAGES.labels("unknown", "giveup").inc()

    def _refused(self, held: Held, refused: Refused) -> None:
        """Settle the message of a job that could not be claimed."""
        try:
            job = self._shop.store.get(refused.job_id)
        except AimqError as exc:
            self._store_away([held.delivery], exc)
            return
        self._accounting.settle_message(held, verdict.on_refusal(refused, job))

    def _store_away(self, deliveries: Sequence[Delivery], exc: AimqError) -> None:
        if not self._store_failures:
            logger.warning("Messages wait: %s", exc.detail)
        self._store_failures += 1
        delay = self._shop.policy.delay(self._store_failures, self._shop.uniform)
        for delivery in deliveries:
            self._subscription.defer(delivery, delay)


def _readable(body: bytes, handlers: Mapping[Kind, Handler]) -> Message:
    message = decode(body)
    if message.kind not in handlers:
        raise MessageRejected(f"nobody here handles messages of kind {message.kind}")
    return message
