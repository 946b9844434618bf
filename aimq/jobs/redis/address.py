"""Where Redis is: ``AIMQ_STORE_URL`` as a client of the library.

=====================================================================  ===========================
``redis://user:password@host:6379/0``                                  one server
``rediss://user:password@host:6379/0``                                 the same by TLS; certificate
                                                                       and name are verified
``redis+sentinel://user:password@host1:26379,host2:26379/mymaster/0``  the primary that Sentinel
                                                                       names
=====================================================================  ===========================

``?wait=1`` makes new jobs and outcomes wait until so many replicas have them. With Sentinel,
``sentinel_password`` is the Sentinels' own, if they have one.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis
from redis.sentinel import Sentinel

from aimq.errors import SettingsError

_MAX_CONNECTIONS: Final = 64
_POOL_SECONDS: Final = 5.0
_SOCKET: Final = {
    "socket_connect_timeout": 2.0,
    "socket_timeout": 5.0,
    "socket_keepalive": True,
}
_SENTINEL_PORT: Final = 26_379


class Address(NamedTuple):
    """A client that has not connected yet.

    Attributes:
        shown: the server as messages name it, without credentials.
        replicas: how many have to confirm a new job and an outcome.
    """

    client: redis.Redis
    shown: str
    replicas: int


def parse(url: str) -> Address:
    """Return the client that a URL asks for. Nothing is reached.

    Raises:
        SettingsError: the URL is malformed.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        replicas = _count(options.pop("wait", "0"))
        if parts.scheme == "redis+sentinel":
            client, shown = _by_sentinel(parts, **options)
        else:
            client, shown = _direct(parts, options)
    except (ValueError, TypeError) as exc:
        raise SettingsError(f"AIMQ_STORE_URL: {exc}") from None
    return Address(client, shown, replicas)


def _direct(parts: SplitResult, options: dict[str, str]) -> tuple[redis.Redis, str]:
    shown = f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(options), ""))
    tls = {"ssl_check_hostname": True} if parts.scheme == "rediss" else {}
    pool = redis.BlockingConnectionPool.from_url(
        url, max_connections=_MAX_CONNECTIONS, timeout=_POOL_SECONDS, **_SOCKET, **tls
    )
    return redis.Redis(connection_pool=pool), shown


def _by_sentinel(parts: SplitResult, sentinel_password: str = "") -> tuple[redis.Redis, str]:
    hosts = parts.netloc.rpartition("@")[2]
    name, _, database = parts.path.strip("/").partition("/")
    if not name:
        raise ValueError("name the primary, as in redis+sentinel://host:26379/mymaster/0")
    sentinel = Sentinel(
        [_host_and_port(host) for host in hosts.split(",")],
        sentinel_kwargs={**_SOCKET, "password": sentinel_password or None},
    )
    client = sentinel.master_for(
        name,
        username=unquote(parts.username or "") or None,
        password=unquote(parts.password or "") or None,
        db=int(database or 0),
        max_connections=_MAX_CONNECTIONS,
        **_SOCKET,
    )
    return client, f"{name} ({hosts})"


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("wait is the number of replicas to wait for")
    return int(text)


def _host_and_port(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError("a Sentinel has no host name")
    return parts.hostname, parts.port or _SENTINEL_PORT
