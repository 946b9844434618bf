"""What a broken connection, a killed server or a full one does to messages: real servers."""

import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

import pika
import pytest

from aimq.broker.port import Failure
from aimq.broker.rabbitmq import RabbitBroker, publisher
from aimq.broker.rabbitmq import broker as rabbitmq_broker
from aimq.broker.topology import EXCHANGE
from aimq.errors import BrokerUnavailable
from aimq.messages import Kind, Message
from aimq.settings import Settings
from tests.proxy import Proxy
from tests.servers.plugin import private
from tests.servers.process import free_ports
from tests.servers.rabbitmq import RabbitServer

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(180)]

PATIENCE = 60.0
FAILURE = Failure(error="no answer", error_type="MlUnavailable")


def message():
    return Message(job_id=uuid.uuid4().hex, kind=Kind.PREDICTION)


@pytest.fixture(scope="module")
def rabbitmq_server():
    """The module's own: it is back soon, with no queues of other tests to recover."""
    with private(RabbitServer) as server:
        yield server


@pytest.fixture
def queue():
    return f"aimq.test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def connect(rabbitmq_vhost):
    """Return a function that makes brokers, closed at the end."""
    made = []

    def make(url=rabbitmq_vhost):
        made.append(RabbitBroker(Settings(broker_url=url)))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def vhost(rabbitmq_vhost):
    return rabbitmq_vhost.rpartition("/")[2]


@pytest.fixture
def proxy(rabbitmq_server):
    with Proxy("127.0.0.1", rabbitmq_server.port) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy, vhost):
    """Return the address of the server behind the proxy."""
    return f"amqp://guest:guest@127.0.0.1:{proxy.port}/{vhost}"


def receive(subscription, count=1):
    found = []
    while len(found) < count:
        came = subscription.receive(count - len(found), timeout=PATIENCE)
        assert came, "nothing came"
        found += came
    return found


def publish_until_confirmed(broker, queue, sent):
    """Publish as the sweep does: again until it is confirmed."""
    while True:
        try:
            return broker.publish(queue, sent).result(PATIENCE)
        except BrokerUnavailable:
            threading.Event().wait(0.1)


def no_message_is_left(server, vhost, queue):
    for _ in range(20):
        left = {n: c for n, c in server.queues(vhost).items() if n.startswith(queue) and any(c)}
        if not left:
            return True
    raise AssertionError(left)


class Traffic:
    """Publishes and consumes until told to stop; knows what was confirmed and what came."""

    def __init__(self, publishing, consuming, queue):
        self.confirmed = []
        self.came = Counter()
        self._stop = threading.Event()
        self._publishing = publishing
        self._queue = queue
        self._subscription = consuming.subscribe(queue, prefetch=50)
        self._threads = [
            threading.Thread(target=self._publish),
            threading.Thread(target=self._consume),
        ]
        for thread in self._threads:
            thread.start()

    def reaches(self, count):
        """Wait until so many messages have come."""
        tick = threading.Event()
        for _ in range(int(PATIENCE / 0.02)):
            if len(self.came) >= count:
                return
            tick.wait(0.02)
        raise AssertionError(f"{len(self.came)} came")

    def finish(self):
        self._stop.set()
        self._threads[0].join(PATIENCE)
        self._drains()
        self._subscription.close()
        self._threads[1].join(PATIENCE)

    def _drains(self):
        """Wait until all that was stored has come: what was confirmed, and what only was stored
        when the connection broke."""
        tick = threading.Event()
        for _ in range(int(PATIENCE / 0.1)):
            missing = set(self.confirmed) - self.came.keys()
            if not missing and not self._publishing.counts(self._queue).ready:
                return
            tick.wait(0.1)
        raise AssertionError(f"{len(missing)} confirmed messages did not come")

    def _publish(self):
        while not self._stop.is_set():
            batch = [message() for _ in range(20)]
            futures = {self._publishing.publish(self._queue, each): each for each in batch}
            wait(futures, PATIENCE)
            self.confirmed += [each.job_id for f, each in futures.items() if not f.exception()]
            if any(future.exception() for future in futures):
                self._stop.wait(0.05)

    def _consume(self):
        while deliveries := self._subscription.receive(20, timeout=PATIENCE):
            for delivery in deliveries:
                self.came[delivery.message_id] += 1
                self._subscription.ack(delivery)


def restart_by_force(server, _):
    server.kill()
    server.start()


def restart(server, _):
    server.stop()
    server.start()


def close_connections(server, _):
    server.rabbitmqctl("close_all_connections", "test")


def cut(_, proxy):
    assert proxy.cut() >= 2


@pytest.mark.parametrize("fault", [restart_by_force, restart, close_connections, cut])
def test_what_was_confirmed_is_delivered_whatever_breaks(
    fault, rabbitmq_server, proxy, proxied, vhost, connect, queue
):
    traffic = Traffic(connect(proxied), connect(proxied), queue)
    traffic.reaches(100)

    for _ in range(2):
        fault(rabbitmq_server, proxy)
        traffic.reaches(len(traffic.came) + 100)
    traffic.finish()

    assert set(traffic.confirmed) <= set(traffic.came)
    assert no_message_is_left(rabbitmq_server, vhost, queue)


def test_settling_a_delivery_from_before_the_break_is_false(connect, proxy, proxied, queue):
    broker = connect(proxied)
    for _ in range(3):
        broker.publish(queue, message()).result(PATIENCE)
    subscription = broker.subscribe(queue, prefetch=3)
    old = receive(subscription, 3)

    proxy.cut()
    new = receive(subscription, 3)

    assert [d.message_id for d in new] == [d.message_id for d in old]
    assert all(delivery.redelivered for delivery in new)
    assert subscription.ack(old[0]).result(PATIENCE) is False
    assert subscription.retry(old[1], 0.1, FAILURE).result(PATIENCE) is False
    assert subscription.requeue(old[2]).result(PATIENCE) is False
    assert [subscription.ack(delivery).result(PATIENCE) for delivery in new] == [True] * 3


def test_publishing_while_the_server_is_away_fails_at_once_and_works_when_it_is_back(
    connect, rabbitmq_server, queue
):
    broker = connect()
    subscription = broker.subscribe(queue, prefetch=1)
    broker.publish(queue, message()).result(PATIENCE)
    subscription.ack(receive(subscription)[0])
    rabbitmq_server.stop()
    try:
        with pytest.raises(BrokerUnavailable, match="cannot be reached"):
            broker.publish(queue, message()).result(PATIENCE)
        with pytest.raises(BrokerUnavailable, match="cannot be reached"):
            broker.check()
        with pytest.raises(BrokerUnavailable, match="cannot be reached"):
            broker.counts(queue)
    finally:
        rabbitmq_server.start()

    sent = message()
    publish_until_confirmed(broker, queue, sent)

    delivery = receive(subscription)[0]
    if delivery.message_id != sent.job_id:  # the server stopped before it had the first one's ack
        subscription.ack(delivery)
        delivery = receive(subscription)[0]
    assert delivery.message_id == sent.job_id


def test_the_next_host_of_the_url_is_used_when_one_is_gone(connect, rabbitmq_server, vhost, queue):
    target = ("127.0.0.1", rabbitmq_server.port)
    with Proxy(*target) as second, ExitStack() as stack:
        first = stack.enter_context(Proxy(*target))
        hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
        broker = connect(f"amqp://guest:guest@{hosts}/{vhost}")
        subscription = broker.subscribe(queue, prefetch=10)
        before, after = message(), message()
        broker.publish(queue, before).result(PATIENCE)
        receive(subscription)

        stack.close()
        publish_until_confirmed(broker, queue, after)

        came = {delivery.message_id for delivery in receive(subscription, 2)}
        assert came == {before.job_id, after.job_id}
        broker.close()


def test_all_hosts_are_named_when_none_can_be_reached(connect):
    one, two = free_ports(2)
    broker = connect(f"amqp://guest:guest@127.0.0.1:{one},127.0.0.1:{two}/")
    with pytest.raises(BrokerUnavailable, match=rf"127.0.0.1:{one}/ cannot .*127.0.0.1:{two}/ can"):
        broker.check()


def test_a_broker_may_be_made_before_its_server_is_there(connect, rabbitmq_server, queue):
    rabbitmq_server.stop()
    try:
        broker = connect()
        subscription = broker.subscribe(queue, prefetch=1)
        assert subscription.receive(timeout=0.3) == []
    finally:
        rabbitmq_server.start()
    sent = message()
    publish_until_confirmed(broker, queue, sent)

    assert receive(subscription)[0].message_id == sent.job_id


def test_a_server_that_falls_silent_fails_publishes_in_bounded_time(
    connect, rabbitmq_server, queue, monkeypatch
):
    broker = connect()
    broker.publish(queue, message()).result(PATIENCE)
    monkeypatch.setattr(publisher, "CONFIRM_SECONDS", 0.5)
    rabbitmq_server.pause()
    try:
        with pytest.raises(BrokerUnavailable, match="did not confirm"):
            broker.publish(queue, message()).result(PATIENCE)
    finally:
        rabbitmq_server.resume()
    monkeypatch.undo()

    broker.publish(queue, message()).result(PATIENCE)


def test_a_server_that_falls_silent_fails_questions_in_bounded_time(
    connect, rabbitmq_server, queue, monkeypatch
):
    broker = connect()
    broker.counts(queue)
    monkeypatch.setattr(rabbitmq_broker, "_ANSWER_SECONDS", 0.5)
    rabbitmq_server.pause()
    try:
        with ThreadPoolExecutor(3) as pool:
            questions = [
                pool.submit(broker.counts, queue),
                pool.submit(broker.dead_letters, queue),
                pool.submit(broker.check),
            ]
            failures = [question.exception(10) for question in questions]
    finally:
        rabbitmq_server.resume()
    monkeypatch.undo()

    assert {type(failure) for failure in failures} == {BrokerUnavailable}
    assert all("gave no answer" in str(failure) for failure in failures)
    assert broker.counts(queue).ready == 0


def test_a_server_short_of_memory_fails_publishes_with_the_reason(connect, rabbitmq_server, queue):
    broker = connect()
    subscription = broker.subscribe(queue, prefetch=10)
    broker.publish(queue, message()).result(PATIENCE)
    (held,) = receive(subscription)
    rabbitmq_server.rabbitmqctl("set_vm_memory_high_watermark", "0")
    try:
        with pytest.raises(BrokerUnavailable, match=r"takes no messages for now \(low on memory"):
            broker.publish(queue, message()).result(PATIENCE)
        with pytest.raises(BrokerUnavailable, match="takes no messages"):
            broker.check()
        assert broker.counts(queue).dead == 0, "questions are answered all the same"
        buried = subscription.dead_letter(held, FAILURE)
    finally:
        rabbitmq_server.rabbitmqctl("set_vm_memory_high_watermark", "absolute", "1GB")

    assert buried.result(PATIENCE) is True, "what could not be stored elsewhere was held on to"
    publish_until_confirmed(broker, queue, message())
    broker.check()
    assert broker.counts(queue).dead == 1


def test_a_job_longer_than_the_heartbeat_keeps_its_message(connect, rabbitmq_vhost, queue):
    broker = connect(f"{rabbitmq_vhost}?heartbeat=1")
    broker.publish(queue, message()).result(PATIENCE)
    subscription = broker.subscribe(queue, prefetch=1)
    (delivery,) = receive(subscription)

    assert subscription.receive(timeout=4.0) == [], "the job takes four heartbeats"

    assert subscription.ack(delivery).result(PATIENCE) is True
    assert subscription.receive(timeout=0.3) == []


def test_a_lost_queue_fails_the_publish_and_is_declared_again(connect, rabbitmq_vhost, queue):
    broker = connect()
    subscription = broker.subscribe(queue, prefetch=1)
    broker.publish(queue, message()).result(PATIENCE)
    subscription.ack(receive(subscription)[0]).result(PATIENCE)
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_vhost)) as connection:
        connection.channel().queue_delete(queue)

    sent = message()
    publish_until_confirmed(broker, queue, sent)

    assert receive(subscription)[0].message_id == sent.job_id


def test_a_cancelled_consumer_declares_its_queue_and_consumes_again(connect, rabbitmq_vhost, queue):
    broker = connect()
    subscription = broker.subscribe(queue, prefetch=10)
    broker.publish(queue, message()).result(PATIENCE)
    [held] = receive(subscription)
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_vhost)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()

        channel.queue_delete(queue)  # the server cancels the consumer

        for number in range(1, 4):  # another program's; nothing of ours publishes
            deliver_when_there(channel, queue, str(number))
        came = [delivery.message_id for delivery in receive(subscription, 3)]
    assert came == ["1", "2", "3"]
    assert subscription.ack(held).result(PATIENCE) is False


def deliver_when_there(channel, queue, message_id):
    """Publish as another program does, and wait until there is a queue that takes it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            properties = pika.BasicProperties(message_id=message_id)
            channel.basic_publish(EXCHANGE, queue, b"of another", properties, mandatory=True)
        except pika.exceptions.UnroutableError:
            assert time.monotonic() < deadline, "the queue is not declared again"
        else:
            return


def test_an_unroutable_message_is_not_confirmed(connect, rabbitmq_vhost, queue):
    broker = connect()
    broker.publish(queue, message()).result(PATIENCE)
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_vhost)) as connection:
        connection.channel().queue_delete(queue)

    with pytest.raises(BrokerUnavailable, match=f"no queue {queue} any more"):
        broker.publish(queue, message()).result(PATIENCE)
