"""Takes messages off one work queue, has the jobs done, and accounts for every one of them.

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

A job that has killed a worker before is worked on alone in this process, so that it takes nobody
with it the next time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from aimq.backoff import RetryPolicy
from aimq.broker.port import Delivery, Failure, Subscription
from aimq.broker.topology import queue_of
from aimq.errors import AimqError, MessageRejected
from aimq.jobs.job import FINAL, Status, now
from aimq.jobs.port import Claim, JobStore, Outcome, Refused
from aimq.messages import Kind, Message, decode
from batch_processor import metrics, verdict
from batch_processor.alone import SharedLock
from batch_processor.handler import Ending, Handler, Later, Stopped, Success, Work
from batch_processor.leases import Leases
from batch_processor.settling import Settlement, Settling
from batch_processor.webhooks import announcement

#: How work on a claimed job ended, and what that means for it.
End = Success | Stopped | verdict.Postpone | verdict.Retry | verdict.GiveUp

#: Longest uninterrupted wait for a message, in seconds.
_RECEIVE_SECONDS = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What the consumers of a process share.

    Attributes:
        publish: puts a message on a queue, without waiting (`Broker.publish`).
        handlers: who does which kind of work.
        owner: names this process in claims.
        uniform: returns a number in [0, 1), for the jitter of retries.
    """

    store: JobStore
    publish: Callable[[str, Message], object]
    handlers: Mapping[Kind, Handler]
    leases: Leases
    settling: Settling
    policy: RetryPolicy
    owner: str
    lease_seconds: float
    delivery_limit: int
    uniform: Callable[[], float]
    floor: SharedLock


@dataclass(frozen=True, slots=True)
class _Held:
    delivery: Delivery
    message: Message


class Consumer:
    """Works on the messages of one subscription, with any number of threads in `run`."""

    def __init__(self, subscription: Subscription, shop: Workshop) -> None:
        self._subscription = subscription
        self._shop = shop
        self._limit = max(handler.limit for handler in shop.handlers.values())
        self._stopping = threading.Event()
        self._store_failures = 0
        self._active: dict[Work, _Held] = {}

    def stop(self) -> None:
        """Take no more messages; `run` returns once what is held is settled."""
        self._stopping.set()
        self._subscription.close()

    def recall(self) -> None:
        """Ask the handlers to lay down what they have in hand."""
        for work in list(self._active):
            work.recall()

    def abandon(self) -> None:
        """Hand back what is in hand still, over the heads of handlers that do not answer."""
        self._settle([(one, work, Stopped()) for work, one in list(self._active.items())])

    def run(self) -> None:
        """Work until stopped. Survives whatever a message does short of killing the process."""
        while not self._stopping.is_set():
            deliveries = self._subscription.receive(self._limit, timeout=_RECEIVE_SECONDS)
            if not deliveries:
                continue
            try:
                self.process(deliveries)
            except Exception:
                # A bug in this file: what was not settled is postponed, so that it is not held
                # for ever. Settling twice is harmless: the second time resolves to False.
                logger.exception("Messages could not be accounted for; they are postponed")
                for delivery in deliveries:
                    self._subscription.postpone(delivery, self._shop.policy.max_seconds)

    def process(self, deliveries: Sequence[Delivery]) -> None:
        """Handle deliveries and settle every one."""
        held = [one for delivery in deliveries if (one := self._decode(delivery))]
        by_kind: dict[Kind, list[_Held]] = {}
        for one in held:
            by_kind.setdefault(one.message.kind, []).append(one)
        for kind, group in by_kind.items():
            limit = self._shop.handlers[kind].limit
            for start in range(0, len(group), limit):
                self._process_group(kind, group[start : start + limit])

    def _decode(self, delivery: Delivery) -> _Held | None:
        try:
            return _Held(delivery, _readable(delivery.body, self._shop.handlers))
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

    def _process_group(self, kind: Kind, group: list[_Held]) -> None:
        """Work on messages side by side with other threads, and on suspects alone afterwards.

        Whoever waits for the floor holds no claim: if the process dies meanwhile, only jobs that
        were worked on count it as a crash, so that a poison message takes no other with it.
        """
        with self._shop.floor.shared():
            claimed = self._claim(group)
            fresh = [pair for pair in claimed if not pair[1].claim.crashes]
            suspects = [pair for pair in claimed if pair[1].claim.crashes]
            if fresh:
                self._lay_down(suspects)
                self._work(kind, fresh)
        if len(claimed) == len(suspects) == 1 and self._at_once(kind, suspects[0]):
            return
        if not fresh:
            self._lay_down(suspects)
        for one, _ in suspects:
            with self._shop.floor.alone():
                for pair in self._claim([one]):
                    self._suspect(kind, pair)

    def _at_once(self, kind: Kind, pair: tuple[_Held, Work]) -> bool:
        """Work on a suspect with the claim it has, if nobody else is on the floor."""
        with self._shop.floor.alone_if_free() as free:
            if free:
                self._suspect(kind, pair)
        return free

    def _claim(self, group: list[_Held]) -> list[tuple[_Held, Work]]:
        """Claim the jobs of messages; those of which that cannot be are settled."""
        shop = self._shop
        if self._stopping.is_set():
            for one in group:
                self._subscription.hand_back(one.delivery)
            return []
        try:
            answers = shop.store.claim(
                [one.message.job_id for one in group], shop.owner, shop.lease_seconds
            )
        except AimqError as exc:
            self._store_away([one.delivery for one in group], exc)
            return []
        self._store_failures = 0
        claimed = []
        for one, answer in zip(group, answers, strict=True):
            if isinstance(answer, Refused):
                self._refused(one, answer)
            else:
                claimed.append((one, Work(answer, shop.store)))
        return claimed

    def _lay_down(self, suspects: list[tuple[_Held, Work]]) -> None:
        """Give claims back, keeping the messages. Where that fails they run out by themselves."""
        if not suspects:
            return
        try:
            self._shop.store.settle(
                [Outcome(claim=work.claim, status=Status.QUEUED) for _, work in suspects]
            )
        except AimqError as exc:
            logger.warning("Claims run out by themselves: %s", exc.detail)

    def _refused(self, one: _Held, refused: Refused) -> None:
        """Settle the message of a job that could not be claimed."""
        try:
            job = self._shop.store.get(refused.job_id)
        except AimqError as exc:
            self._store_away([one.delivery], exc)
            return
        self._settle_message(one, verdict.on_refusal(refused, job))

    def _store_away(self, deliveries: Sequence[Delivery], exc: AimqError) -> None:
        if not self._store_failures:
            logger.warning("Messages wait: %s", exc.detail)
        self._store_failures += 1
        delay = self._shop.policy.delay(self._store_failures, self._shop.uniform)
        for delivery in deliveries:
            self._subscription.postpone(delivery, delay)

    def _suspect(self, kind: Kind, pair: tuple[_Held, Work]) -> None:
        """Work on a job that killed a worker before, or not any more."""
        given_up = verdict.on_crashes(pair[1].claim, self._shop.delivery_limit)
        if given_up is None:
            self._work(kind, [pair])
        else:
            self._settle([(pair[0], pair[1], given_up)])

    def _work(self, kind: Kind, pairs: list[tuple[_Held, Work]]) -> None:
        works = [work for _, work in pairs]
        with self._shop.leases.keep(works), self._in_hand(pairs):
            with metrics.ACTIVE.labels(kind).track_inprogress():
                endings = self._handle(kind, works)
            self._settle(
                [
                    (one, work, self._judge(one, ending))
                    for (one, work), ending in zip(pairs, endings, strict=True)
                ]
            )

    @contextmanager
    def _in_hand(self, pairs: list[tuple[_Held, Work]]) -> Iterator[None]:
        self._active.update({work: one for one, work in pairs})
        try:
            yield
        finally:
            for _, work in pairs:
                self._active.pop(work, None)

    def _handle(self, kind: Kind, works: list[Work]) -> Sequence[Ending]:
        with metrics.SECONDS.labels(kind).time():
            try:
                return self._shop.handlers[kind].handle(works)
            except BaseException as exc:  # noqa: BLE001 # not even this may lose a message
                return [exc] * len(works)

    def _judge(self, one: _Held, ending: Ending) -> End:
        if isinstance(ending, Success | Stopped):
            return ending
        if isinstance(ending, Later):
            return verdict.Postpone(ending.delay)
        first = one.delivery.first_failed_at
        decided = verdict.on_error(
            ending,
            one.delivery.attempts,
            self._shop.policy,
            self._shop.uniform,
            since_first=(now() - first).total_seconds() if first else 0.0,
        )
        bug = not isinstance(ending, AimqError)
        logger.log(
            logging.ERROR if bug else logging.WARNING,
            "Job %s, attempt %d: %s",
            one.message.job_id,
            one.delivery.attempts + 1,
            decided.failure.error,
            exc_info=ending if bug else None,
        )
        return decided

    def _settle(
        self,
        ends: list[tuple[_Held, Work, End]],
    ) -> None:
        """Write outcomes to the store, then settle the messages."""
        for _, work, _ in ends:
            self._active.pop(work, None)
        self._shop.settling.settle([self._settlement(*end) for end in ends])

    def _settlement(self, one: _Held, work: Work, end: End) -> Settlement:
        outcome = _outcome(work.claim, end)
        told = outcome.status in FINAL and bool(work.job.callback_url)
        webhook = announcement(work.job) if told else None

        def stored() -> None:
            self._settle_message(one, end)
            if webhook is not None:
                message = Message(
                    job_id=webhook.job_id, kind=webhook.kind, traceparent=webhook.traceparent
                )
                self._shop.publish(queue_of(webhook.kind), message)

        def void() -> None:
            delay = self._shop.lease_seconds + verdict.LEASE_MARGIN
            self._subscription.postpone(one.delivery, delay)

        return Settlement(
            work=work, outcome=outcome, stored=stored, void=void, announcement=webhook
        )

    def _settle_message(
        self,
        one: _Held,
        end: End | verdict.Forget,
    ) -> None:
        subscription, delivery = self._subscription, one.delivery
        match end:
            case Success() | verdict.Forget():
                subscription.ack(delivery)
            case Stopped():
                subscription.hand_back(delivery)
            case verdict.Postpone(delay):
                subscription.postpone(delivery, delay)
            case verdict.Retry(delay, failure):
                subscription.retry(delivery, delay, failure)
            case verdict.GiveUp(failure):
                subscription.dead_letter(delivery, failure)
                logger.warning("Job %s is dead-lettered: %s", one.message.job_id, failure.error)
        metrics.MESSAGES.labels(one.message.kind, type(end).__name__.lower()).inc()


def _readable(body: bytes, handlers: Mapping[Kind, Handler]) -> Message:
    message = decode(body)
    if message.kind not in handlers:
        raise MessageRejected(f"nobody here handles messages of kind {message.kind}")
    return message


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
        case Stopped() | verdict.Postpone():
            return Outcome(claim=claim, status=Status.QUEUED)
        case verdict.Retry(_, failure):
            return Outcome(claim=claim, status=Status.RETRYING, error=failure.error)
        case verdict.GiveUp(failure):
            return Outcome(claim=claim, status=Status.FAILED, error=failure.error)
