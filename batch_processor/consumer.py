"""The life of a message: receive, decode, claim, work, store the outcome, settle the message.

The store is written first and the queue second. ``kill -9`` may come between any two steps; the
broker then delivers the message again.

- Done: result file, then job done, then ack. Killed before the ack: the message comes again, its
  job is done already, and it is acked.
- Retry: job retrying, then the delayed copy of the message with its ack. Killed between: the
  message comes again at once; one attempt comes early, none is lost.
- Dead letter: job failed, then the dead letter with the ack. Killed between: the message comes
  again, its job is found failed, and it moves to the dead letters then. In the other order the job
  would stay "processing", with no message that could change that.
- The store is away when the work ends: nothing is settled in the queue. The outcome is kept
  (`Outcomes`) and stored when the store is back.
- The claim is void: its new holder settles the job. The message is deferred and not acked: that
  costs one look at the job later, and assumes nothing about who holds what.
- A job with a webhook: the webhook's job is created, then the outcome stored, then the webhook's
  message published. Killed between: the interface's sweep publishes it, and the webhook waits until
  its task is final.
- Settling a message resolves to False (the connection broke): it comes again, as above.

A job that crashed a worker before may crash this one. It is worked on under the exclusive lock,
while this process holds no other claim, so that its next crash counts against no other job. A
thread that waits for the lock holds no claim either.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from aimq.broker.port import Delivery, Subscription
from aimq.broker.topology import queue_of
from aimq.errors import AimqError, MessageRejected
from aimq.jobs.job import Status, now
from aimq.jobs.port import Outcome, Refusal, Refused
from aimq.messages import Message, decode
from batch_processor import disposition, metrics
from batch_processor.context import ConsumerConfig, ConsumerContext
from batch_processor.disposition import Ack, DeadLetter, Defer, Disposition, Requeue, Retry
from batch_processor.outcomes import Outcomes
from batch_processor.work import Result, Work, webhook_job

#: Time between two tries to store outcomes while the store is away, in seconds.
_RETRY_SECONDS: Final = 0.5

logger = logging.getLogger(__name__)


class Consumer:
    """Works on the messages of one subscription, with any number of threads in `run`."""

    def __init__(
        self, subscription: Subscription, config: ConsumerConfig, context: ConsumerContext
    ) -> None:
        self._subscription, self._config, self._context = subscription, config, context
        self._outcomes = Outcomes(context.store, self._stored)
        self._stopping = threading.Event()
        self._store_failures = 0

    def run(self) -> None:
        """Work until stopped. Survives everything a message does but the death of the process."""
        while not self._stopping.is_set():
            timeout = _RETRY_SECONDS if self._outcomes.pending else None
            deliveries = self._subscription.receive(self._config.batch, timeout)
            try:
                self._outcomes.store([])  # those that are pending
                if deliveries:
                    self.process(deliveries)
            except Exception:
                # A bug of ours. Settling twice is harmless: the second time resolves to False.
                logger.exception("Messages could not be processed; they are deferred")
                self._defer(deliveries, self._config.policy.max_seconds)

    def stop(self) -> None:
        """Take no more messages; `run` returns once what is in hand is settled."""
        self._stopping.set()
        self._subscription.close()

    def close(self) -> None:
        """Put back what handlers still hold, and try once more to store what is pending."""
        held = self._context.claims.held()
        mine = [work for work in held if work.delivery.queue == self._config.queue]
        self._outcomes.store([(work, Requeue()) for work in mine])

    def process(self, deliveries: Sequence[Delivery]) -> None:
        """Work on deliveries and settle every one."""
        received = self._decode(deliveries)
        isolated = [one for one in received if one[1].kind in self._config.isolated]
        self._work(self._claim(isolated))
        self._process([one for one in received if one not in isolated])

    def _process(self, received: Sequence[tuple[Delivery, Message]]) -> None:
        """Work on what may crash this process."""
        with self._context.lock.shared():
            works = self._claim(received)
            crashed = [work for work in works if self._crashes(work)]
            if len(works) > 1:
                self._release(crashed)  # a thread that waits for the lock holds no claim
            self._work([work for work in works if work not in crashed])
        if len(works) == 1 and crashed and self._work_at_once(crashed):
            return
        for work in crashed:
            with self._context.lock.exclusive():
                self._work(self._claim([(work.delivery, work.message)]))

    def _decode(self, deliveries: Sequence[Delivery]) -> list[tuple[Delivery, Message]]:
        received = []
        for delivery in deliveries:
            try:
                received.append((delivery, self._readable(delivery)))
            except MessageRejected as exc:
                self._reject(delivery, exc)
        return received

    def _readable(self, delivery: Delivery) -> Message:
        message = decode(delivery.body)
        if queue_of(message.kind) != self._config.queue:
            raise MessageRejected(f"{delivery.queue} takes no messages of kind {message.kind}")
        return message

    def _claim(self, received: Sequence[tuple[Delivery, Message]]) -> list[Work]:
        """Claim the jobs of messages; settle the messages whose job is not to be worked on."""
        if self._stopping.is_set():
            for delivery, _ in received:
                self._settle(delivery, Requeue())
        if self._stopping.is_set() or not received:
            return []
        works: list[Work] = []
        with self._deferred_without_store([delivery for delivery, _ in received]):
            answers = self._context.claims.claim([message.job_id for _, message in received])
            for (delivery, message), answer in zip(received, answers, strict=True):
                if isinstance(answer, Refused):
                    self._refused(delivery, answer)
                else:
                    works.append(Work(delivery, message, answer, self._context.store))
        return [work for work in works if not self._crashed_too_often(work)]

    def _work(self, works: Sequence[Work]) -> None:
        if not works:
            return
        with self._context.claims.renewed(works):
            with metrics.active(self._config.kind):
                results = self._handle(works)
            self._outcomes.store(
                [(work, self._judge(work, one)) for work, one in zip(works, results, strict=True)]
            )

    def _handle(self, works: Sequence[Work]) -> Sequence[Result]:
        try:
            return self._config.handler(works)
        except BaseException as exc:  # noqa: BLE001 # not even this may lose a message
            return [exc] * len(works)

    def _judge(self, work: Work, result: Result) -> Disposition:
        """Return what becomes of a message after an attempt; log what went wrong."""
        if not isinstance(result, BaseException):
            return result
        delivery, first = work.delivery, work.delivery.first_failed_at
        since_first = (now() - first).total_seconds() if first else 0.0
        decided = disposition.on_error(
            result, delivery.attempts, self._config.policy, random.random, since_first
        )
        if not isinstance(decided, Requeue):
            bug = not isinstance(result, AimqError)
            logger.log(
                logging.ERROR if bug else logging.WARNING,
                "Job %s, attempt %d: %s",
                work.job.job_id,
                delivery.attempts + 1,
                decided.failure.error,
                exc_info=result if bug else None,
            )
        return decided

    def _stored(self, work: Work, decided: Disposition, stored: bool) -> None:  # noqa: FBT001 # a callback
        """Settle the message of a job whose outcome is stored, or whose claim was void."""
        if not stored:
            lease = self._context.claims.lease_seconds
            self._defer([work.delivery], lease + disposition.LEASE_MARGIN)
            return
        self._settle(work.delivery, decided, "success" if isinstance(decided, Ack) else "")
        if isinstance(decided, Ack | DeadLetter) and (job := work.webhook):
            message = Message(job_id=job.job_id, kind=job.kind, traceparent=job.traceparent)
            self._context.publish(queue_of(job.kind), message)

    def _settle(self, delivery: Delivery, decided: Disposition, end: str = "") -> None:
        """Settle a message of whose job nothing is left to be stored."""
        match decided:
            case Ack():
                self._subscription.ack(delivery)
            case Retry(delay, failure):
                self._subscription.retry(delivery, delay, failure)
            case Defer(delay):
                self._subscription.defer(delivery, delay)
            case DeadLetter(failure):
                self._subscription.dead_letter(delivery, failure)
                logger.warning("Message %r is dead: %s", delivery.message_id[:64], failure.error)
            case Requeue():
                self._subscription.requeue(delivery)
        metrics.MESSAGES.labels(self._config.kind, end or type(decided).__name__.lower()).inc()

    def _crashes(self, work: Work) -> int:
        """How many workers the job may have crashed."""
        return 0 if work.job.kind in self._config.uncounted else work.claim.crashes

    def _crashed_too_often(self, work: Work) -> bool:
        """True if the job crashed its worker too often; it is failed then."""
        decided = disposition.on_crashes(self._crashes(work), self._context.delivery_limit)
        if decided:
            self._outcomes.store([(work, decided)])
        return decided is not None

    def _work_at_once(self, crashed: Sequence[Work]) -> bool:
        """Work on a job with the claim that it has, if there is no other; else release it."""
        with self._context.lock.exclusive(wait=False) as alone:
            if alone:
                self._work(crashed)
            else:
                self._release(crashed)
        return alone

    def _release(self, works: Sequence[Work]) -> None:
        """End claims, keeping the messages. Where that fails the leases run out."""
        if not works:
            return
        try:
            self._context.store.settle(
                [Outcome(claim=work.claim, status=Status.QUEUED) for work in works]
            )
        except AimqError as exc:
            logger.warning("Claims are left to run out: %s", exc.detail)

    def _reject(self, delivery: Delivery, error: MessageRejected) -> None:
        """Dead-letter a message that nobody can process; a job that it may be for fails with it."""
        decided = disposition.on_rejection(error)
        with self._deferred_without_store([delivery]):
            if delivery.message_id:
                job = self._context.store.fail(delivery.message_id, decided.failure.error)
                if job is not None and job.callback_url:
                    self._context.store.create([webhook_job(job)])  # the sweep publishes it
            self._settle(delivery, decided)

    def _refused(self, delivery: Delivery, refused: Refused) -> None:
        """Settle the message of a job that could not be claimed."""
        with self._deferred_without_store([delivery]):
            final = refused.reason is Refusal.FINAL
            job = self._context.store.get(refused.job_id) if final else None
            self._settle(delivery, disposition.on_refusal(refused, job))

    @contextmanager
    def _deferred_without_store(self, deliveries: Sequence[Delivery]) -> Iterator[None]:
        """Defer messages, later each time, if the store is away in a ``with`` block."""
        try:
            yield
            self._store_failures = 0
        except AimqError as exc:
            if not self._store_failures:
                logger.warning("Messages wait: %s", exc.detail)
            self._store_failures += 1
            delay = self._config.policy.delay(self._store_failures, random.random)
            self._defer(deliveries, delay)

    def _defer(self, deliveries: Sequence[Delivery], delay: float) -> None:
        for delivery in deliveries:
            self._subscription.defer(delivery, delay)
