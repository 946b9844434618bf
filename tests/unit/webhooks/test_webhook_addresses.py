import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimq.webhooks.address import MAX_URL, check_url, is_public

PRIVATE = [
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
    "100.64.0.0/10", "0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "192.0.2.0/24", "198.18.0.0/15",
]  # fmt: skip
PRIVATE_6 = ["fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001:db8::/32", "64:ff9b::/96"]


def inside(networks):
    def member(network):
        net = ipaddress.ip_network(network)
        return st.integers(0, net.num_addresses - 1).map(lambda n: net[n])

    return st.sampled_from(networks).flatmap(member)


@given(inside(PRIVATE))
def test_no_private_address_is_public_in_any_disguise(ip):
    number = int(ip)
    mapped, nat64 = ipaddress.IPv6Address(f"::ffff:{ip}"), ipaddress.IPv6Address("64:ff9b::")
    disguises = [
        ip,
        mapped,
        ipaddress.IPv6Address(f"::{ip}"),
        ipaddress.IPv6Address(int(nat64) + number),
        ipaddress.IPv6Address((0x2002 << 112) + (number << 80) + 1),
        ipaddress.IPv6Address((0x20010000 << 96) + (number ^ 0xFFFFFFFF)),
    ]
    assert [str(d) for d in disguises if is_public(str(d))] == []


@given(inside(PRIVATE_6))
def test_no_local_ipv6_address_is_public(ip):
    assert not is_public(str(ip))
    assert check_url(f"http://[{ip}]/hook", allow_private=False)


@pytest.mark.parametrize("address", ["::1", "::", "0.0.0.0", "fe80::1%eth0", "169.254.169.254"])
def test_loopback_unspecified_and_metadata_addresses_are_refused(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


@given(st.text())
def test_what_is_no_address_is_not_public(text):
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        assert not is_public(text)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/", "file:///etc/passwd", "//example.org/", "example.org/hook", "http://",
        "http://user:pw@example.org/", "http://example.org:99999/", "http://[::1", "",
        "http://a b.org/", "http://example.org/\r\nX: y", "http://ex\u00e4mple.org/",
        "http://example.org\\@10.0.0.1/", "http://example.org/" + "x" * MAX_URL,
        "http://localhost/", "http://LOCALHOST:8080/", "http://localhost./", "http://a.localhost/",
        "http://127.0.0.1/", "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://10.1.2.3/x",
        "http://metadata.google.internal/", "http://printer.local/",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_called_back_is_refused(url):
    assert check_url(url, allow_private=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/hook", "http://localhost/", "http://[::1]/"])
def test_a_private_url_is_taken_where_that_is_allowed(url):
    assert check_url(url, allow_private=True) is None


@pytest.mark.parametrize("url", ["https://example.org/hook?x=1", "http://1.1.1.1:8080/"])
def test_a_public_url_is_taken(url):
    assert check_url(url, allow_private=False) is None


@given(st.text())
def test_whatever_a_client_sends_there_is_an_answer(url):
    problem = check_url(url, allow_private=False)
    assert problem is None or isinstance(problem, str)
