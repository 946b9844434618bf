"""What every adapter of the Broker port must do.

Not collected by itself. An adapter derives a test class and names its harness; in a file of its
own, say ``test_broker_contract_rabbitmq.py``::

    class TestRabbitBroker(BrokerContract):
        @pytest.fixture()
        def harness(self, rabbitmq_server) -> Iterator[BrokerHarness]: ...
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable

import pytest

from aimq.broker.connect import connect_broker
from aimq.broker.port import Broker, Delivery, Failure, QueueCounts, Subscription
from aimq.messages import Kind, Message, decode
from aimq.settings import Settings, load_settings

#: Longest wait for something that is sure to come.
PATIENCE = 20.0
#: How long nothing may come before it is taken that nothing will.
SILENCE = 0.3

CONSUMER = """
import sys, threading
from aimq.broker.connect import connect_broker
from aimq.settings import load_settings

subscription = connect_broker(load_settings()).subscribe(sys.argv[1], prefetch=10)
held = []
while len(held) < int(sys.argv[2]):
    held += subscription.receive(10)
print("holding", flush=True)
threading.Event().wait()
"""


class BrokerHarness(ABC):
    """One adapter and its server."""

    #: `counts` tells how many are held.
    tells_held = True
    #: `retry` may be asked for this delay, in seconds, and keeps to it.
    delay = 0.3

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Return the AIMQ_ variables that lead to the server, leases as short as can be."""

    @abstractmethod
    def publish_raw(self, broker: Broker, queue: str, body: bytes) -> None:
        """Put any bytes on a queue, confirmed."""

    def settings(self) -> Settings:
        environment = self.environment()
        return load_settings(
            environ=environment,
            **{name.removeprefix("AIMQ_").lower(): value for name, value in environment.items()},
        )

    def connect(self) -> Broker:
        return connect_broker(self.settings())

    def queue(self) -> str:
        """Return the name of an empty work queue that no other test uses."""
        return f"aimq.test-{uuid.uuid4().hex[:12]}"


def message() -> Message:
    return Message(job_id=uuid.uuid4().hex, kind=Kind.SPREADSHEET)


def failure(error: str = "no answer", **more: object) -> Failure:
    return Failure(error=error, error_type="MlUnavailable", **more)


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def publish(broker: Broker, queue: str, count: int = 1) -> list[str]:
    sent = [message() for _ in range(count)]
    for future in [broker.publish(queue, each) for each in sent]:
        future.result(PATIENCE)
    return [each.job_id for each in sent]


def receive(subscription: Subscription, count: int = 1) -> list[Delivery]:
    """Receive exactly `count` messages, however they come."""
    found: list[Delivery] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < deadline:
        found += subscription.receive(count - len(found), timeout=1.0)
    assert len(found) == count
    return found


def bury(broker: Broker, queue: str, count: int = 1) -> list[str]:
    """Publish messages and dead-letter them. Returns the ids of the dead letters."""
    publish(broker, queue, count)
    subscription = broker.subscribe(queue, prefetch=count)
    for delivery in receive(subscription, count):
        assert subscription.dead_letter(delivery, failure()).result(PATIENCE) is True
    subscription.close()
    eventually(lambda: len(broker.dead_letters(queue)) == count)
    return [letter.id for letter in broker.dead_letters(queue)]


class BrokerContract:
    @pytest.fixture
    def harness(self) -> BrokerHarness:
        raise NotImplementedError

    @pytest.fixture
    def broker(self, harness):
        broker = harness.connect()
        yield broker
        broker.close()

    @pytest.fixture
    def other(self, harness):
        """A second broker on the same server, as another process has it."""
        broker = harness.connect()
        yield broker
        broker.close()

    @pytest.fixture
    def queue(self, harness):
        return harness.queue()

    # Delivery

    def test_a_published_message_is_delivered_whole(self, broker, queue):
        sent = message()
        broker.publish(queue, sent).result(PATIENCE)

        (delivery,) = receive(broker.subscribe(queue, prefetch=1))

        assert decode(delivery.body) == sent
        assert delivery.message_id == sent.job_id
        assert delivery.queue == queue
        assert delivery.attempts == 0
        assert delivery.first_failed_at is None
        assert not delivery.redelivered

    def test_an_acked_message_is_gone(self, broker, queue):
        publish(broker, queue)
        subscription = broker.subscribe(queue, prefetch=1)
        (delivery,) = receive(subscription)

        assert subscription.ack(delivery).result(PATIENCE) is True

        eventually(lambda: broker.counts(queue) == QueueCounts(ready=0, held=0, delayed=0, dead=0))
        assert subscription.receive(timeout=SILENCE) == []

    def test_messages_come_in_the_order_they_were_published(self, broker, queue):
        sent = publish(broker, queue, 50)

        received = receive(broker.subscribe(queue, prefetch=50), 50)

        assert [delivery.message_id for delivery in received] == sent

    def test_queues_do_not_mix(self, broker, harness, queue):
        elsewhere = harness.queue()
        broker.subscribe(elsewhere, prefetch=1)
        publish(broker, queue)

        assert broker.subscribe(elsewhere, prefetch=1).receive(timeout=SILENCE) == []

    def test_receive_does_not_wait_to_fill_up(self, broker, queue):
        publish(broker, queue)

        assert len(broker.subscribe(queue, prefetch=10).receive(10)) == 1

    def test_receive_gives_no_more_than_was_asked_for(self, broker, queue):
        publish(broker, queue, 5)
        subscription = broker.subscribe(queue, prefetch=5)

        assert 1 <= len(subscription.receive(2, timeout=PATIENCE)) <= 2

    def test_receive_returns_empty_when_the_time_is_up(self, broker, queue):
        assert broker.subscribe(queue, prefetch=1).receive(timeout=0.05) == []

    def test_a_waiting_consumer_is_woken_by_a_publish_of_another_process(
        self, broker, other, queue
    ):
        subscription = broker.subscribe(queue, prefetch=1)
        received: list[Delivery] = []
        waiting = threading.Thread(target=lambda: received.extend(subscription.receive()))
        waiting.start()

        (sent,) = publish(other, queue)

        waiting.join(PATIENCE)
        assert [delivery.message_id for delivery in received] == [sent]

    def test_no_more_than_prefetch_are_held(self, broker, queue):
        publish(broker, queue, 5)
        subscription = broker.subscribe(queue, prefetch=2)
        held = receive(subscription, 2)
        assert subscription.receive(5, timeout=SILENCE) == []

        subscription.ack(held[0]).result(PATIENCE)

        assert len(receive(subscription, 1)) == 1
        assert subscription.receive(5, timeout=SILENCE) == []

    def test_a_settled_message_makes_room_for_a_waiting_consumer(self, broker, queue):
        publish(broker, queue, 2)
        subscription = broker.subscribe(queue, prefetch=1)
        (first,) = receive(subscription)
        received: list[Delivery] = []
        waiting = threading.Thread(target=lambda: received.extend(subscription.receive()))
        waiting.start()

        subscription.ack(first)

        waiting.join(PATIENCE)
        assert len(received) == 1

    def test_consumers_share_a_queue(self, broker, other, queue):
        sent = publish(broker, queue, 40)
        subscriptions = [broker.subscribe(queue, prefetch=5), other.subscribe(queue, prefetch=5)]
        received: list[str] = []
        while len(received) < len(sent):
            for subscription in subscriptions:
                for delivery in subscription.receive(1, timeout=0.05):
                    received.append(delivery.message_id)
                    subscription.ack(delivery)

        assert sorted(received) == sorted(sent)

    @pytest.mark.parametrize(
        "body",
        [b"", b"\xff\xfe\x00 not JSON", b'{"schema": 99}', b"x" * 10 * 1024 * 1024],
        ids=["empty", "binary", "other schema", "10 MiB"],
    )
    def test_any_body_passes_through_and_can_be_given_up(self, broker, harness, queue, body):
        harness.publish_raw(broker, queue, body)
        subscription = broker.subscribe(queue, prefetch=1)
        (delivery,) = receive(subscription)
        assert delivery.body == body

        assert subscription.dead_letter(delivery, failure("not ours")).result(PATIENCE) is True

        eventually(lambda: broker.dead_letters(queue))
        assert broker.dead_letters(queue)[0].body == body

    # Retries

    def test_a_retry_comes_back_later_with_one_attempt_more(self, broker, harness, queue):
        publish(broker, queue)
        subscription = broker.subscribe(queue, prefetch=1)
        (first,) = receive(subscription)

        assert subscription.retry(first, harness.delay, failure()).result(PATIENCE) is True
        (second,) = receive(subscription)
        subscription.retry(second, harness.delay, failure()).result(PATIENCE)
        (third,) = receive(subscription)

        assert [first.attempts, second.attempts, third.attempts] == [0, 1, 2]
        assert third.body == first.body
        assert third.message_id == first.message_id
        assert second.first_failed_at is not None
        assert third.first_failed_at == second.first_failed_at
        assert not third.redelivered

    def test_a_delayed_message_holds_up_nobody(self, broker, harness, queue):
        publish(broker, queue)
        subscription = broker.subscribe(queue, prefetch=1)
        (late,) = receive(subscription)
        subscription.retry(late, harness.delay, failure()).result(PATIENCE)

        (sent,) = publish(broker, queue)

        (delivery,) = receive(subscription)
        assert delivery.message_id == sent

    def test_a_postponed_message_comes_back_uncounted(self, broker, harness, queue):
        publish(broker, queue)
        subscription = broker.subscribe(queue, prefetch=1)
        (first,) = receive(subscription)

        assert subscription.defer(first, harness.delay).result(PATIENCE) is True

        (second,) = receive(subscription)
        assert second.message_id == first.message_id
        assert second.attempts == 0
        assert second.first_failed_at is None

    def test_a_message_handed_back_is_there_at_once_for_others(self, broker, other, queue):
        publish(broker, queue)
        subscription = broker.subscribe(queue, prefetch=1)
        (first,) = receive(subscription)
        subscription.close()

        assert subscription.requeue(first).result(PATIENCE) is True

        (second,) = receive(other.subscribe(queue, prefetch=1))
        assert second.message_id == first.message_id
        assert second.attempts == 0

    @pytest.mark.parametrize("again", ["ack", "retry", "defer", "dead_letter", "requeue"])
    def test_a_delivery_is_settled_once(self, broker, queue, again):
        publish(broker, queue)
        subscription = broker.subscribe(queue, prefetch=1)
        (delivery,) = receive(subscription)
        assert subscription.ack(delivery).result(PATIENCE) is True
        more = {
            "retry": (0.1, failure()),
            "defer": (0.1,),
            "dead_letter": (failure(),),
        }

        assert (
            getattr(subscription, again)(delivery, *more.get(again, ())).result(PATIENCE) is False
        )

        eventually(lambda: broker.counts(queue) == QueueCounts(ready=0, held=0, delayed=0, dead=0))

    # Dead letters

    def test_a_dead_letter_says_why(self, broker, harness, queue):
        (sent,) = publish(broker, queue)
        subscription = broker.subscribe(queue, prefetch=1)
        (first,) = receive(subscription)
        subscription.retry(first, harness.delay, failure("first")).result(PATIENCE)
        (second,) = receive(subscription)

        reason = failure("gave up: ünïcode ✓\nline", traceback="Traceback: x", unprocessable=True)
        assert subscription.dead_letter(second, reason).result(PATIENCE) is True

        eventually(lambda: broker.counts(queue).dead == 1)
        (letter,) = broker.dead_letters(queue)
        assert letter.failure == reason
        assert letter.attempts == 2  # the one that was retried and this one
        assert letter.first_failed_at == second.first_failed_at
        assert letter.last_failed_at >= letter.first_failed_at
        assert (letter.queue, letter.message_id, letter.body) == (queue, sent, second.body)
        assert letter.history == []

    def test_a_long_failure_is_cut_rather_than_refused(self, broker, queue):
        publish(broker, queue)
        subscription = broker.subscribe(queue, prefetch=1)
        (delivery,) = receive(subscription)

        reason = failure("é" * 1_000_000, traceback="é" * 1_000_000 + "the end")
        assert subscription.dead_letter(delivery, reason).result(PATIENCE) is True

        eventually(lambda: broker.dead_letters(queue))
        (letter,) = broker.dead_letters(queue)
        assert letter.failure.error.startswith("éé")
        assert letter.failure.traceback.endswith("the end")

    def test_looking_at_dead_letters_leaves_them_there(self, broker, queue):
        ids = bury(broker, queue, 3)

        assert [letter.id for letter in broker.dead_letters(queue)] == ids
        assert [letter.id for letter in broker.dead_letters(queue)] == ids
        assert [letter.id for letter in broker.dead_letters(queue, limit=2)] == ids[:2]

    def test_a_replay_starts_over_and_keeps_the_history(self, broker, queue):
        (first,) = bury(broker, queue)

        replayed = broker.replay(queue, first)

        assert replayed is not None
        assert replayed.id == first
        subscription = broker.subscribe(queue, prefetch=1)
        (delivery,) = receive(subscription)
        assert delivery.body == replayed.body
        assert delivery.message_id == replayed.message_id
        assert (delivery.attempts, delivery.first_failed_at) == (0, None)
        assert broker.dead_letters(queue) == []
        subscription.dead_letter(delivery, failure("again")).result(PATIENCE)
        eventually(lambda: broker.dead_letters(queue))
        (letter,) = broker.dead_letters(queue)
        assert letter.failure.error == "again"
        assert letter.attempts == 1
        assert [entry["error"] for entry in letter.history] == ["no answer"]
        assert letter.history[0]["error_type"] == "MlUnavailable"
        assert letter.history[0]["attempts"] == 1

    def test_the_history_survives_retries(self, broker, harness, queue):
        (first,) = bury(broker, queue)
        broker.replay(queue, first)
        subscription = broker.subscribe(queue, prefetch=1)
        (delivery,) = receive(subscription)
        subscription.retry(delivery, harness.delay, failure("retried")).result(PATIENCE)
        (delivery,) = receive(subscription)

        subscription.dead_letter(delivery, failure("again")).result(PATIENCE)

        eventually(lambda: broker.dead_letters(queue))
        (letter,) = broker.dead_letters(queue)
        assert [entry["error"] for entry in letter.history] == ["no answer"]

    def test_one_dead_letter_can_be_replayed_out_of_several(self, broker, queue):
        ids = bury(broker, queue, 3)

        assert broker.replay(queue, ids[1]).id == ids[1]

        assert len(broker.dead_letters(queue)) == 2
        assert broker.counts(queue).dead == 2
        assert len(receive(broker.subscribe(queue, prefetch=3), 1)) == 1

    def test_a_discarded_dead_letter_is_gone(self, broker, queue):
        ids = bury(broker, queue, 2)

        discarded = broker.discard(queue, ids[0])

        assert discarded is not None
        assert discarded.id == ids[0]
        assert [letter.id for letter in broker.dead_letters(queue)] == ids[1:]

    @pytest.mark.parametrize("unknown", ["", "no-such-id", "999999999999", "-1", "é", "9" * 40])
    def test_an_unknown_dead_letter_is_none(self, broker, queue, unknown):
        (kept,) = bury(broker, queue)

        assert broker.replay(queue, unknown) is None
        assert broker.discard(queue, unknown) is None
        assert [letter.id for letter in broker.dead_letters(queue)] == [kept]

    # What is where

    def test_counts_tell_what_is_where(self, broker, harness, queue):
        publish(broker, queue, 4)
        subscription = broker.subscribe(queue, prefetch=3)
        delayed, dead, _held = receive(subscription, 3)
        subscription.defer(delayed, 30.0).result(PATIENCE)
        subscription.dead_letter(dead, failure()).result(PATIENCE)
        subscription.close()

        held = 1 if harness.tells_held else 0
        expected = QueueCounts(ready=1, held=held, delayed=1, dead=1)
        eventually(lambda: broker.counts(queue) == expected)

    def test_check_passes_when_messages_can_be_published(self, broker):
        broker.check()

    # Death and closing

    def test_a_killed_consumers_message_is_delivered_again(self, broker, harness, queue):
        (sent,) = publish(broker, queue)
        consumer = subprocess.Popen(
            [sys.executable, "-c", CONSUMER, queue, "1"],
            env=os.environ | harness.environment(),
            stdout=subprocess.PIPE,
        )
        with consumer:
            assert consumer.stdout is not None
            assert consumer.stdout.readline() == b"holding\n"
            subscription = broker.subscribe(queue, prefetch=1)
            assert subscription.receive(timeout=SILENCE) == []

            consumer.send_signal(signal.SIGKILL)

        (delivery,) = receive(subscription)
        assert delivery.message_id == sent
        assert delivery.redelivered
        assert delivery.attempts == 0

    def test_messages_outlive_every_process(self, harness, queue):
        broker = harness.connect()
        sent = publish(broker, queue, 3)
        broker.close()

        later = harness.connect()
        received = receive(later.subscribe(queue, prefetch=3), 3)
        later.close()

        assert [delivery.message_id for delivery in received] == sent

    def test_closing_a_subscription_frees_what_it_did_not_give_out(self, broker, other, queue):
        sent = publish(broker, queue, 5)
        subscription = broker.subscribe(queue, prefetch=5)
        (first,) = receive(subscription)

        subscription.close()
        subscription.close()

        rest = receive(other.subscribe(queue, prefetch=5), 4)
        assert sorted(delivery.message_id for delivery in rest) == sorted(sent[1:])
        assert subscription.ack(first).result(PATIENCE) is True
        assert subscription.receive(timeout=SILENCE) == []

    def test_closing_a_subscription_wakes_who_waits_on_it(self, broker, queue):
        subscription = broker.subscribe(queue, prefetch=1)
        waiting = threading.Thread(target=subscription.receive)
        waiting.start()

        subscription.close()

        waiting.join(PATIENCE)
        assert not waiting.is_alive()

    def test_closing_the_broker_puts_back_what_was_not_settled(self, harness, other, queue):
        broker = harness.connect()
        (sent,) = publish(broker, queue)
        subscription = broker.subscribe(queue, prefetch=1)
        (held,) = receive(subscription)

        broker.close()
        broker.close()

        assert subscription.ack(held).result(PATIENCE) is False
        (delivery,) = receive(other.subscribe(queue, prefetch=1))
        assert delivery.message_id == sent

    def test_closing_the_broker_flushes_what_was_published(self, harness, other, queue):
        broker = harness.connect()
        futures = [broker.publish(queue, message()) for _ in range(200)]

        broker.close()

        assert all(future.exception(PATIENCE) is None for future in futures)
        assert len(receive(other.subscribe(queue, prefetch=200), 200)) == 200

    # Concurrency

    def test_nothing_is_lost_or_doubled_under_many_threads(self, broker, other, queue):
        threads, each = 8, 100
        sent: list[str] = []
        received: Counter[str] = Counter()
        lock = threading.Lock()
        everything = threading.Event()

        def produce() -> None:
            ids = publish(broker, queue, each)
            with lock:
                sent.extend(ids)

        def consume(subscription: Subscription) -> None:
            while not everything.is_set():
                for delivery in subscription.receive(7, timeout=0.05):
                    assert subscription.ack(delivery).result(PATIENCE)
                    with lock:
                        received[delivery.message_id] += 1
                        if sum(received.values()) >= threads * each:
                            everything.set()

        subscriptions = [broker.subscribe(queue, prefetch=20), other.subscribe(queue, prefetch=20)]
        workers = [threading.Thread(target=consume, args=(each,)) for each in subscriptions * 2]
        producers = [threading.Thread(target=produce) for _ in range(threads)]
        for thread in workers + producers:
            thread.start()
        for thread in producers:
            thread.join(PATIENCE)
        assert everything.wait(PATIENCE)
        for thread in workers:
            thread.join(PATIENCE)

        assert received == Counter(sent)
        assert len(received) == threads * each
