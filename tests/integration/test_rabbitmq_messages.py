"""Retries, safety nets and refusals on a real server."""

import gc
import socket
import uuid

import pika
import pytest

from aimq.broker import topology
from aimq.broker.failure_history import DELIVERY_SAFETY_NET
from aimq.broker.port import Failure
from aimq.broker.rabbitmq import RabbitBroker
from aimq.broker.rabbitmq import broker as rabbitmq_broker
from aimq.broker.topology import UPLOADS, retry_queue
from aimq.errors import BrokerUnavailable
from aimq.messages import Kind, Message
from aimq.settings import Settings
from tests.servers.process import free_ports

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(120)]

PATIENCE = 30.0
FAILURE = Failure(error="no answer", error_type="MlUnavailable", traceback="Traceback: …")


def connect(url):
    return RabbitBroker(Settings(broker_url=url))


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    """Has the only retry queue make messages wait 50 ms."""
    monkeypatch.setattr(topology, "RETRY_DELAYS", (0.05,))


@pytest.fixture
def broker(rabbitmq_vhost):
    broker = connect(rabbitmq_vhost)
    yield broker
    broker.close()


@pytest.fixture
def queue():
    return f"aimq.test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def channel(rabbitmq_vhost):
    """A plain channel, to do what others may do."""
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_vhost)) as connection:
        yield connection.channel()


def message():
    return Message(job_id=uuid.uuid4().hex, kind=Kind.SPREADSHEET)


def receive(subscription):
    (delivery,) = subscription.receive(timeout=PATIENCE)
    return delivery


def test_a_message_may_be_retried_any_number_of_times(
    broker, queue, rabbitmq_server, rabbitmq_vhost
):
    sent = message()
    broker.publish(queue, sent).result(PATIENCE)
    subscription = broker.subscribe(queue, prefetch=1)
    for attempt in range(15):
        delivery = receive(subscription)
        assert (delivery.message_id, delivery.attempts) == (sent.job_id, attempt)
        assert subscription.retry(delivery, 0.05, FAILURE).result(PATIENCE)

    assert subscription.ack(receive(subscription)).result(PATIENCE)

    broker.close()
    left = rabbitmq_server.queues(rabbitmq_vhost.rpartition("/")[2])
    assert {left[name] for name in left if name.startswith(queue)} == {(0, 0)}


def test_a_dead_letter_carries_its_headers(broker, queue, channel):
    sent = message()
    broker.publish(queue, sent).result(PATIENCE)
    subscription = broker.subscribe(queue, prefetch=1)
    subscription.retry(receive(subscription), 0.05, FAILURE).result(PATIENCE)
    subscription.dead_letter(receive(subscription), FAILURE).result(PATIENCE)

    _, properties, _body = channel.basic_get(f"{queue}.dead", auto_ack=True)

    assert properties.delivery_mode == 2
    assert properties.content_type == "application/json"
    assert properties.message_id == sent.job_id
    assert properties.headers["x-attempts"] == 2
    assert properties.headers["x-error"] == "no answer"
    assert properties.headers["x-error-type"] == "MlUnavailable"
    assert properties.headers["x-first-failed-at"] < properties.headers["x-last-failed-at"]
    assert not [name for name in properties.headers if "death" in name]


def test_the_servers_own_limit_ends_in_the_dead_letter_queue(broker, queue, channel):
    sent = message()
    broker.publish(queue, sent).result(PATIENCE)
    deliveries = 0
    for method, _, _ in channel.consume(queue, inactivity_timeout=1.0):
        if method is None:
            break
        deliveries += 1
        channel.basic_reject(
            method.delivery_tag, requeue=True
        )  # as good as a death, on any version
    channel.cancel()

    assert deliveries == DELIVERY_SAFETY_NET + 1
    (letter,) = broker.dead_letters(queue)
    assert (letter.message_id, letter.failure.error_type) == (sent.job_id, "WorkerDied")
    assert broker.replay(queue, letter.id).id == letter.id
    assert receive(broker.subscribe(queue, prefetch=1)).attempts == 0


def test_handing_back_never_uses_up_the_servers_limit(broker, queue):
    sent = message()
    broker.publish(queue, sent).result(PATIENCE)
    subscription = broker.subscribe(queue, prefetch=1)

    for _ in range(DELIVERY_SAFETY_NET + 10):
        assert subscription.requeue(receive(subscription)).result(PATIENCE)

    assert receive(subscription).message_id == sent.job_id
    assert broker.counts(queue).dead == 0


def test_looking_often_does_not_use_up_dead_letters(broker, queue):
    broker.publish(queue, message()).result(PATIENCE)
    subscription = broker.subscribe(queue, prefetch=1)
    subscription.dead_letter(receive(subscription), FAILURE).result(PATIENCE)

    for _ in range(30):  # the default limit of 4.x is 20
        assert len(broker.dead_letters(queue)) == 1


def test_two_processes_may_look_at_once(broker, queue, rabbitmq_vhost):
    for _ in range(20):
        broker.publish(queue, message()).result(PATIENCE)
    subscription = broker.subscribe(queue, prefetch=20)
    for _ in range(20):
        subscription.dead_letter(receive(subscription), FAILURE).result(PATIENCE)
    other = connect(rabbitmq_vhost)
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 # this test only

    with ThreadPoolExecutor(4) as pool:
        looks = [pool.submit(each.dead_letters, queue) for each in [broker, other] * 4]
        found = [len(look.result(PATIENCE)) for look in looks]
    other.close()

    assert found == [20] * 8


@pytest.mark.parametrize(
    "headers",
    [
        {"x-attempts": "many", "x-error": 7, "x-first-failed-at": "yesterday"},
        {"x-attempts": -3, "x-history": "{", "x-last-failed-at": None, "x-dead-letter-id": 5},
        {"x-death": [{"count": 12, "queue": "aimq.uploads"}]},
    ],
)
def test_headers_that_make_no_sense_do_no_harm(broker, queue, channel, headers):
    broker.counts(queue)
    channel.basic_publish("aimq", queue, b"{}", pika.BasicProperties(headers=headers))
    subscription = broker.subscribe(queue, prefetch=1)

    delivery = receive(subscription)
    assert (delivery.attempts, delivery.first_failed_at, delivery.message_id) == (0, None, "")
    assert subscription.dead_letter(delivery, FAILURE).result(PATIENCE)

    assert broker.dead_letters(queue)[0].attempts == 1


class TestRefusals:
    def check(self, url):
        broker = connect(url)
        try:
            with pytest.raises(BrokerUnavailable) as refusal:
                broker.check()
        finally:
            broker.close()
        text = str(refusal.value)
        assert "\n" not in text
        assert "s3cret" not in text
        return text

    def test_a_wrong_password_is_named_and_not_shown(self, rabbitmq_vhost):
        assert "refused the login" in self.check(rabbitmq_vhost.replace("guest@", "s3cret@"))

    def test_an_unknown_vhost_is_named(self, rabbitmq_vhost):
        assert "not found" in self.check(rabbitmq_vhost.replace("/test-", "/nope-"))

    def test_a_missing_server_is_named(self):
        (port,) = free_ports(1)
        text = self.check(f"amqp://guest:s3cret@127.0.0.1:{port}/")
        assert text == f"RabbitMQ at 127.0.0.1:{port}/ cannot be reached: Connection refused"

    def test_an_unknown_host_is_named(self):
        assert "cannot be resolved" in self.check("amqp://guest:s3cret@no-such-host.invalid/")

    def test_a_server_without_tls_is_named(self, rabbitmq_vhost):
        assert "does not speak TLS" in self.check(rabbitmq_vhost.replace("amqp:", "amqps:"))

    def test_a_queue_with_other_arguments_is_named_with_what_to_do(self, rabbitmq_server):
        url = rabbitmq_server.new_vhost()
        with pika.BlockingConnection(pika.URLParameters(url)) as connection:
            connection.channel().queue_declare(retry_queue(0.05), durable=True)
        broker = connect(url)
        with pytest.raises(
            BrokerUnavailable, match=r"Queue aimq\.retry\.50ms .*delete_queue aimq\.retry\.50ms"
        ):
            broker.check()
        with pytest.raises(BrokerUnavailable, match="exists with other arguments"):
            broker.publish(UPLOADS, message()).result(PATIENCE)
        with pytest.raises(BrokerUnavailable, match="exists with other arguments"):
            broker.counts(UPLOADS)
        broker.close()

    def test_a_user_without_permission_is_told(self, rabbitmq_server):
        url = rabbitmq_server.new_vhost()
        name = url.rpartition("/")[2]
        rabbitmq_server.rabbitmqctl("set_permissions", "-p", name, "guest", "", ".*", ".*")
        assert "does not permit this user" in self.check(url)


@pytest.mark.parametrize("answers", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_closing_while_connecting_fails_what_waits_and_leaves_no_socket(answers, monkeypatch):
    monkeypatch.setattr(rabbitmq_broker, "_CLOSE_SECONDS", 0.5)  # given to what waits
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        broker = connect(f"amqp://guest:guest@127.0.0.1:{stranger.getsockname()[1]}/")
        published = broker.publish("aimq.test", message())
        accepted, _ = stranger.accept()
        with accepted:
            accepted.sendall(answers)
            broker.close()

    with pytest.raises(BrokerUnavailable):
        published.result(PATIENCE)
    gc.collect()  # a socket that was left open is reported here, as an error
