"""A server with the retry queues of an earlier version: nothing is lost, and they are removed."""

import threading
import uuid

import pika
import pytest

from aimq.broker.rabbitmq import RabbitBroker, former_queues
from aimq.broker.topology import UPLOADS, dead_queue
from aimq.settings import Settings

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(120)]

PATIENCE = 30.0
DELAYS = (0.2, 1.0, 3.0)
QUORUM = {"x-queue-type": "quorum"}


def former_retry_queue(number):
    return f"{UPLOADS}.retry.{number}"


def declare(channel, name, **arguments):
    arguments = {**QUORUM, **{f"x-{key.replace('_', '-')}": v for key, v in arguments.items()}}
    channel.queue_declare(name, durable=True, arguments=arguments)
    channel.queue_bind(name, "aimq", name)


def declare_former_layout(channel):
    """Declare what the earlier version declared for uploads."""
    channel.exchange_declare("aimq", exchange_type="direct", durable=True)
    declare(channel, dead_queue(UPLOADS), delivery_limit=2**31 - 1)
    dead_letters = {
        "overflow": "reject-publish",
        "dead_letter_exchange": "aimq",
        "dead_letter_strategy": "at-least-once",
    }
    dead = {**dead_letters, "dead_letter_routing_key": dead_queue(UPLOADS)}
    declare(channel, UPLOADS, delivery_limit=50, **dead)
    for number, delay in enumerate(DELAYS, start=1):
        arguments = {**dead_letters, "dead_letter_routing_key": UPLOADS}
        declare(channel, former_retry_queue(number), message_ttl=int(delay * 1000), **arguments)


def publish(channel, routing_key):
    """Publish as the earlier version does: confirmed and mandatory. Return the message's id."""
    sent = uuid.uuid4().hex
    properties = pika.BasicProperties(message_id=sent, delivery_mode=2)
    channel.basic_publish("aimq", routing_key, b"{}", properties, mandatory=True)
    return sent


def publish_until_returned(channel, routing_key):
    """Publish until the queue has been unbound. Return the ids of the confirmed messages."""
    sent = set()
    while True:
        try:
            sent.add(publish(channel, routing_key))
        except pika.exceptions.UnroutableError:
            return sent
        channel.connection.sleep(0.02)


@pytest.fixture
def url(rabbitmq_server):
    return rabbitmq_server.new_vhost()


@pytest.fixture
def channel(url):
    """A channel of the earlier version, on which the former layout is declared."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        declare_former_layout(channel)
        yield channel


@pytest.fixture
def broker(url):
    broker = RabbitBroker(Settings(broker_url=url))
    yield broker
    broker.close()


def receive_ids(subscription, count):
    found = set()
    while len(found) < count:
        deliveries = subscription.receive(count, timeout=PATIENCE)
        assert deliveries, "nothing came"
        for delivery in deliveries:
            found.add(delivery.message_id)
            subscription.ack(delivery).result(PATIENCE)
    return found


def former_queues_of(server, url):
    return {name for name in server.queues(url.rpartition("/")[2]) if ".retry." in name} & {
        former_retry_queue(number) for number in range(1, 10)
    }


def test_what_waits_in_former_retry_queues_is_delivered_and_they_are_removed(
    channel, broker, url, rabbitmq_server, monkeypatch
):
    monkeypatch.setattr(former_queues, "REMOVAL_SECONDS", 0.2)
    waiting = {publish(channel, former_retry_queue(n)) for n in (1, 2, 2, 3)}
    waiting.add(publish(channel, UPLOADS))

    subscription = broker.subscribe(UPLOADS, prefetch=10)

    assert receive_ids(subscription, 5) == waiting
    pause = threading.Event()
    for _ in range(int(PATIENCE)):
        if not former_queues_of(rabbitmq_server, url):
            break
        pause.wait(1.0)
    assert not former_queues_of(rabbitmq_server, url)


def test_an_earlier_version_beside_this_one_loses_nothing(channel, broker, monkeypatch):
    monkeypatch.setattr(former_queues, "REMOVAL_SECONDS", 0.2)
    subscription = broker.subscribe(UPLOADS, prefetch=10)
    sent = publish_until_returned(channel, former_retry_queue(3))
    assert sent

    declare_former_layout(channel)  # as the earlier version does then
    sent.add(publish(channel, former_retry_queue(3)))

    assert receive_ids(subscription, len(sent)) == sent


def test_former_retry_queues_stay_during_a_rolling_update(channel, broker, url, rabbitmq_server):
    broker.subscribe(UPLOADS, prefetch=1)
    assert broker.counts(UPLOADS).delayed == 0
    assert len(former_queues_of(rabbitmq_server, url)) == len(DELAYS)
