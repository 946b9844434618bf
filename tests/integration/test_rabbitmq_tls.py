"""amqps://: a TLS front before the real server, with a certificate of a private authority."""

import ipaddress

import pytest

from aimq.broker.rabbitmq import RabbitBroker
from aimq.errors import BrokerUnavailable
from aimq.messages import Kind, Message
from aimq.settings import Settings
from tests.servers.tls import TlsFront, certificate

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def front(rabbitmq_server, rabbitmq_vhost, tmp_path):
    """Return its port, the vhost and its certificate's file; it is valid for 127.0.0.1 only."""
    chain, private = certificate(tmp_path, ipaddress.ip_address("127.0.0.1"))
    front = TlsFront(rabbitmq_server.port, chain, private)
    yield front.port, rabbitmq_vhost.rpartition("/")[2], str(chain)
    front.close()


def broker(host, port, vhost, authorities=""):
    url = f"amqps://guest:guest@{host}:{port}/{vhost}"
    return RabbitBroker(Settings(broker_url=url, broker_ca=authorities))


def test_a_trusted_server_is_used_over_tls(front):
    secure = broker("127.0.0.1", *front)
    try:
        secure.publish("aimq.tls", Message(job_id="1", kind=Kind.FACTORIAL)).result(20)
        secure.check()
    finally:
        secure.close()


def test_an_unknown_authority_is_refused(front):
    refused = broker("127.0.0.1", *front[:2])
    with pytest.raises(BrokerUnavailable, match=r"not trusted: self.signed .*AIMQ_BROKER_CA"):
        refused.check()
    refused.close()


def test_another_servers_certificate_is_refused(front):
    refused = broker("localhost", *front)
    with pytest.raises(BrokerUnavailable, match="not trusted: Hostname mismatch"):
        refused.check()
    refused.close()
