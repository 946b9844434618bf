import ssl

import pytest
from pika import exceptions

from aimq.broker.rabbitmq import RabbitBroker
from aimq.broker.rabbitmq.faults import explain
from aimq.broker.rabbitmq.parameters import address_of, connection_parameters
from aimq.broker.rabbitmq.queues import nearest_step, queue_specs
from aimq.broker.topology import retry_steps
from aimq.errors import SettingsError
from aimq.settings import Settings

STEPS = retry_steps("q", 1, 60)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("amqp://user:s3cret@host", "host:5672/"),
        ("amqps://user:s3cret@host/%2F", "host:5671/"),
        ("amqp://user:s3cret@[::1]:99/jobs?heartbeat=3", "[::1]:99/jobs"),
    ],
)
def test_an_address_has_no_credentials(url, address):
    assert address_of(url) == address


@pytest.mark.parametrize("url", ["amqp://", "amqp://u:s3cret@host:port/", "amqp://u:s3cret@h?x=1"])
def test_a_bad_url_is_refused_without_showing_it(url):
    with pytest.raises(SettingsError, match="AIMQ_BROKER_URL") as refusal:
        RabbitBroker(Settings(broker_url=url))
    assert "s3cret" not in str(refusal.value)


def test_tls_always_verifies():
    url = "amqps://u:p@host/"
    context = connection_parameters(Settings(broker_url=url)).ssl_options.context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_missing_file_of_authorities_is_named(tmp_path):
    absent = tmp_path / "absent.pem"
    with pytest.raises(SettingsError, match=r"AIMQ_BROKER_CA: .*absent\.pem"):
        connection_parameters(Settings(broker_url="amqps://u:p@h/", broker_ca=str(absent)))


@pytest.mark.parametrize(
    ("delay", "expected"), [(0, 1), (1.4, 1), (1.6, 2), (45, 32), (47, 60), (999, 60)]
)
def test_the_nearest_step_is_taken(delay, expected):
    assert nearest_step(STEPS, delay).delay_seconds == expected


def test_every_limit_is_explicit_and_every_way_out_leads_to_a_queue():
    specs = {spec.name: spec.arguments for spec in queue_specs("q", STEPS)}
    assert {arguments["x-queue-type"] for arguments in specs.values()} == {"quorum"}
    assert specs["q"]["x-delivery-limit"] == 50
    assert specs["q.dead"]["x-delivery-limit"] > 10**9
    for name, arguments in specs.items():
        if name != "q.dead":
            assert arguments["x-dead-letter-routing-key"] in specs
            assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert [specs[step.queue]["x-message-ttl"] for step in STEPS][:3] == [1000, 2000, 4000]


def test_an_unforeseen_reason_is_told_in_one_line():
    assert explain("odd\nthing", "h:1/") == "RabbitMQ at h:1/: odd thing"
    assert explain(exceptions.StreamLostError("x"), "h:1/") == "RabbitMQ at h:1/: x"
    closed = exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED - maintenance")
    assert explain(closed, "h:1/") == "RabbitMQ at h:1/: maintenance"
