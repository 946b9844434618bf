"""Accounts for every message: what its end means for the job in the store, and for the message.

Orderings that keep the promises (the store is written first, the queue second; ``kill -9`` may
come between any two steps, and the broker then delivers the message again):

- done: result file, then job done, then ack. Killed before the ack: the message comes again, the
  job is done already, the message is forgotten.
- retry: job retrying, then the delayed copy with its ack. Killed between: the message comes again
  at once and is claimed at once; one attempt comes early, none is lost.
- failed: job failed, then the dead letter with its ack. Killed between: the message comes again,
  the job is found failed, and the message goes to the dead letters then. The other order would
  leave a job "processing" for ever, with no message to bring it on.
- the store cannot be reached at the end of the work: nothing is settled in the queue; the outcome
  is kept (`Settling`) and written when the store is back, while the worker goes on.
- the claim turned out void: whoever took it settles the job. The message is postponed rather than
  forgotten: it costs one look at the job later, and no assumption on who holds what.
- a task with a webhook: the webhook's own job created, then task done, then the webhook's message.
  Killed between: the interface's sweep publishes what is not published, and the webhook waits
  until its task is final.
- settling a message resolves to False (the connection broke meanwhile): it comes again, as above.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from aimq.broker.port import Subscription
from aimq.broker.topology import queue_of
from aimq.errors import AimqError
from aimq.jobs.job import FINAL, Status, now
from aimq.jobs.port import Claim, Outcome
from aimq.messages import Message
from batch_processor import metrics, verdict
from batch_processor.handler import Ending, Later, Stopped, Success
from batch_processor.settling import Settlement
from batch_processor.webhooks import announcement
from batch_processor.workshop import Claimed, Held, Workshop

#: How work on a claimed job ended, and what that means for it.
End = Success | Stopped | verdict.Defer | verdict.Retry | verdict.GiveUp

logger = logging.getLogger(__name__)


class Accounting:
    """Settles the messages of one subscription and the jobs they name. Thread-safe."""

    def __init__(self, subscription: Subscription, shop: Workshop) -> None:
        self._subscription = subscription
        self._shop = shop

    def judge(self, held: Held, ending: Ending) -> End:
        """Return what the ending of an attempt means; what went wrong is logged."""
        if isinstance(ending, Success | Stopped):
            return ending
        if isinstance(ending, Later):
            return verdict.Defer(ending.delay)
        first = held.delivery.first_failed_at
        decided = verdict.on_error(
            ending,
            held.delivery.attempts,
            self._shop.policy,
            self._shop.uniform,
            since_first=(now() - first).total_seconds() if first else 0.0,
        )
        bug = not isinstance(ending, AimqError)
        logger.log(
            logging.ERROR if bug else logging.WARNING,
            "Job %s, attempt %d: %s",
            held.message.job_id,
            held.delivery.attempts + 1,
            decided.failure.error,
            exc_info=ending if bug else None,
        )
        return decided

    def settle(self, ends: Sequence[tuple[Claimed, End]]) -> None:
        """Write outcomes to the store, then settle the messages."""
        self._shop.settling.settle([self._settlement(*end) for end in ends])

    def settle_message(self, held: Held, end: End | verdict.Forget) -> None:
        """Settle a message about whose job nothing is left to be written."""
        subscription, delivery = self._subscription, held.delivery
        match end:
            case Success() | verdict.Forget():
                subscription.ack(delivery)
            case Stopped():
                subscription.requeue(delivery)
            case verdict.Defer(delay):
                subscription.defer(delivery, delay)
            case verdict.Retry(delay, failure):
                subscription.retry(delivery, delay, failure)
            case verdict.GiveUp(failure):
                subscription.dead_letter(delivery, failure)
                logger.warning("Job %s is dead-lettered: %s", held.message.job_id, failure.error)
        metrics.MESSAGES.labels(held.message.kind, type(end).__name__.lower()).inc()

    def _settlement(self, claimed: Claimed, end: End) -> Settlement:
        held, work = claimed.held, claimed.work
        outcome = _outcome(work.claim, end)
        told = outcome.status in FINAL and bool(work.job.callback_url)
        webhook = announcement(work.job) if told else None

        def stored() -> None:
            self.settle_message(held, end)
            if webhook is not None:
                message = Message(
                    job_id=webhook.job_id, kind=webhook.kind, traceparent=webhook.traceparent
                )
                self._shop.publish(queue_of(webhook.kind), message)

        def void() -> None:
            delay = self._shop.lease_seconds + verdict.LEASE_MARGIN
            self._subscription.defer(held.delivery, delay)

        return Settlement(
            work=work, outcome=outcome, stored=stored, void=void, announcement=webhook
        )


def _outcome(claim: Claim, end: End) -> Outcome:
    match end:
        case Success():
            return Outcome(
                claim=claim,
                status=Status.DONE,
                result=end.result,
                model_versions=end.model_versions,
                counts=end.counts,
            )
        case Stopped() | verdict.Defer():
            return Outcome(claim=claim, status=Status.QUEUED)
        case verdict.Retry(_, failure):
            return Outcome(claim=claim, status=Status.RETRYING, error=failure.error)
        case verdict.GiveUp(failure):
            return Outcome(claim=claim, status=Status.FAILED, error=failure.error)
