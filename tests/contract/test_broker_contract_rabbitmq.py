import os
import uuid

import pika
import pytest

pytest.register_assert_rewrite("contract.broker_contract")

from contract.broker_contract import BrokerContract, BrokerHarness  # noqa: E402

from aimq.broker.rabbitmq.queues import queue_specs  # noqa: E402

pytestmark = pytest.mark.rabbitmq


class RabbitHarness(BrokerHarness):
    tells_held = False

    def __init__(self, url):
        self._url = url
        self._queues = []

    def environment(self):
        return {"AIMQ_BROKER_URL": self._url}

    def publish_raw(self, broker, queue, body):
        broker.publish_body(queue, body, "").result(20)

    def queue(self):
        queue = f"aimq.test-{uuid.uuid4().hex[:12]}"
        self._queues.append(queue)
        return queue

    def remove_queues(self):
        with pika.BlockingConnection(pika.URLParameters(self._url)) as connection:
            channel = connection.channel()
            for queue in self._queues:
                for spec in queue_specs(queue):
                    channel.queue_delete(spec.name)


class TestRabbitBroker(BrokerContract):
    @pytest.fixture
    def harness(self, rabbitmq_vhost):
        harness = RabbitHarness(rabbitmq_vhost)
        yield harness
        harness.remove_queues()


if "AIMQ_TEST_RABBITMQ_4" in os.environ:

    class TestRabbitBrokerOnTheNextRelease(BrokerContract):
        """RabbitMQ 4.x counts deliveries in another way and keeps its definitions elsewhere."""

        @pytest.fixture
        def harness(self, rabbitmq_4_url):
            harness = RabbitHarness(rabbitmq_4_url)
            yield harness
            harness.remove_queues()

else:  # one line of the report, not one for each test

    @pytest.mark.skip("AIMQ_TEST_RABBITMQ_4 names no rabbitmq-server 4.x: its path, or an amqp URL")
    def test_the_contract_on_the_next_release():
        pass
