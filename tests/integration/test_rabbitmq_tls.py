"""amqps://: a TLS front before the real server, with a certificate of a private authority."""

import datetime
import ipaddress
import socket
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aimq.broker.rabbitmq import RabbitBroker
from aimq.errors import BrokerUnavailable
from aimq.messages import Kind, Message
from aimq.settings import Settings

pytestmark = pytest.mark.rabbitmq


def certificate(folder, address):
    """Write a self-signed certificate for `address`; return its file and the key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test broker")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(address)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "server.pem", folder / "server.key"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, private


class TlsFront:
    """Takes TLS connections on loopback and passes their content to a port."""

    def __init__(self, port, chain, private):
        self._target = port
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(chain, private)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            try:
                outer = self._context.wrap_socket(plain, server_side=True)
            except (ssl.SSLError, OSError):  # the client did not trust us
                plain.close()
                continue
            inner = socket.create_connection(("127.0.0.1", self._target))
            outer.settimeout(0.01)
            self._threads.append(threading.Thread(target=self._pass, args=(outer, inner)))
            self._threads[-1].start()

    @staticmethod
    def _pass(outer, inner):
        inner.settimeout(0.01)
        with outer, inner:
            while True:
                for source, target in ((outer, inner), (inner, outer)):
                    try:
                        data = source.recv(65536)
                    except TimeoutError:
                        continue
                    except OSError:
                        return
                    if not data:
                        return
                    target.sendall(data)


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
