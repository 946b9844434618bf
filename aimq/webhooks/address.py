"""Which addresses a webhook may go to: public ones only. Pure.

The client names the address and the service connects to it from inside the network (server-side
request forgery). Loopback, private, link-local (cloud metadata), shared, multicast and reserved
addresses are refused in every notation, also as an IPv4 address inside an IPv6 one.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

MAX_URL: Final = 2048
_SCHEMES: Final = frozenset({"http", "https"})
#: IPv6 networks that lead to IPv4 addresses: 6to4, Teredo and NAT64.
_TUNNELS: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48")
)


def is_public(address: str) -> bool:
    """True if the text is an IP address of the public internet."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.is_site_local or any(ip in network for network in _TUNNELS):
            return False
    return ip.is_global and not (
        ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_link_local
    )


def check_url(url: str, *, allow_private: bool) -> str | None:
    """Return why a webhook cannot go to a URL, or None.

    The host name is not resolved here: its addresses are checked with `is_public` when the
    connection is made.
    """
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return f"must be a URL of at most {MAX_URL} printable ASCII characters"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in _SCHEMES or not host:
        return "must begin with https:// or http:// and name a host"
    if parts.username is not None or parts.password is not None or "\\" in url:
        return "must hold no user name, password or backslash"
    if not allow_private and _is_private_name(host):
        return "must not lead to a loopback, private or link-local address"
    return None


def _is_private_name(host: str) -> bool:
    name = host.rstrip(".")
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False  # a name; forms such as 127.1 or 0x7f000001 are resolved and checked later
    return not is_public(name)
