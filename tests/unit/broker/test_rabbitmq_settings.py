import ssl

import pytest
from pika import exceptions

from aimq.broker.rabbitmq import RabbitBroker
from aimq.broker.rabbitmq.error_mapping import unavailable
from aimq.broker.rabbitmq.parameters import address_of, connection_parameters
from aimq.broker.rabbitmq.queues import queue_specs
from aimq.broker.topology import EXCHANGE, WORK_QUEUES, nearest_delay
from aimq.errors import SettingsError
from aimq.settings import Settings


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("amqp://user:s3cret@host", "host:5672/"),
        ("amqps://user:s3cret@host/%2F", "host:5671/"),
        ("amqp://user:s3cret@[::1]:99/jobs?heartbeat=3", "[::1]:99/jobs"),
    ],
)
def test_an_address_has_no_credentials(url, address):
    (parameters,) = connection_parameters(Settings(broker_url=url))
    assert address_of(parameters) == address


def test_every_host_of_the_url_has_its_login_vhost_and_options():
    url = "amqp://user:s%40c%2Cret@one:5673,two,[::1]:99/jobs?heartbeat=3"
    hosts = connection_parameters(Settings(broker_url=url))
    assert [address_of(host) for host in hosts] == [
        "one:5673/jobs",
        "two:5672/jobs",
        "[::1]:99/jobs",
    ]
    assert {(h.credentials.username, h.credentials.password) for h in hosts} == {
        ("user", "s@c,ret")
    }
    assert {host.heartbeat for host in hosts} == {3}


def test_the_certificate_is_checked_against_the_host_that_is_used():
    hosts = connection_parameters(Settings(broker_url="amqps://u:p@one,two/"))
    assert [host.ssl_options.server_hostname for host in hosts] == ["one", "two"]


@pytest.mark.parametrize(
    "url",
    ["amqp://", "amqp://u:s3cret@host:port/", "amqp://u:s3cret@h?x=1", "amqp://u:s3cret@h,,i"],
)
def test_a_bad_url_is_refused_without_showing_it(url):
    with pytest.raises(SettingsError, match="AIMQ_BROKER_URL") as refusal:
        RabbitBroker(Settings(broker_url=url))
    assert "s3cret" not in str(refusal.value)


def test_tls_always_verifies():
    url = "amqps://u:p@host/"
    (parameters,) = connection_parameters(Settings(broker_url=url))
    context = parameters.ssl_options.context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_missing_file_of_authorities_is_named(tmp_path):
    absent = tmp_path / "absent.pem"
    with pytest.raises(SettingsError, match=r"AIMQ_BROKER_CA: .*absent\.pem"):
        connection_parameters(Settings(broker_url="amqps://u:p@h/", broker_ca=str(absent)))


@pytest.mark.parametrize(
    ("delay", "expected"),
    [(0, 0.5), (0.9, 0.5), (1.1, 2), (4, 2), (5, 10), (24, 10), (25, 60), (999, 60)],
)
def test_the_delay_of_the_nearest_ratio_is_taken(delay, expected):
    assert nearest_delay(delay) == expected


def test_all_work_queues_together_have_at_most_twelve_queues():
    assert len({spec.name for queue in WORK_QUEUES for spec in queue_specs(queue)}) == 12


def test_every_limit_is_explicit_and_every_way_out_leads_to_a_queue():
    specs = {spec.name: spec.arguments for spec in queue_specs("q")}
    assert {arguments["x-queue-type"] for arguments in specs.values()} == {"quorum"}
    assert specs["q"]["x-delivery-limit"] == 50
    assert specs["q.dead"]["x-delivery-limit"] > 10**9
    assert specs["q"]["x-dead-letter-routing-key"] == "q.dead"
    for name, arguments in specs.items():
        if name != "q.dead":
            assert arguments["x-dead-letter-exchange"] == EXCHANGE
            assert arguments["x-dead-letter-strategy"] == "at-least-once"


def test_a_retry_queue_keeps_the_routing_key_and_waits_as_long_as_its_name_says():
    found = {s.name: s for s in queue_specs("q") if "retry" in s.name}
    waits = {name: spec.arguments["x-message-ttl"] for name, spec in found.items()}
    assert waits == {
        "aimq.retry.500ms": 500,
        "aimq.retry.2000ms": 2_000,
        "aimq.retry.10000ms": 10_000,
        "aimq.retry.60000ms": 60_000,
    }
    for name, spec in found.items():
        assert spec.exchange == name
        assert "x-dead-letter-routing-key" not in spec.arguments


def test_an_unforeseen_reason_is_told_in_one_line():
    assert str(unavailable(RuntimeError("odd\nthing"), "h:1/")) == "RabbitMQ at h:1/: odd thing"
    assert str(unavailable(exceptions.StreamLostError("x"), "h:1/")) == "RabbitMQ at h:1/: x"
    closed = exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED - maintenance")
    assert str(unavailable(closed, "h:1/")) == "RabbitMQ at h:1/: maintenance"
