"""Which names a service answers to, and which web sites may call it through a browser.

A service without API keys trusts all who reach its port. On a laptop these are its own programs,
and also every web page that its browser shows. Two rules keep the pages out:

- Host: a page whose own name resolves to this machine (DNS rebinding) sends that name as ``Host``.
- Site: a page of another site may send a request without being able to read the answer. Such a
  request is refused where it changes or computes something. ``Sec-Fetch-Site`` decides; a browser
  that does not send it names its site in ``Origin``, which must be the host that it asks, or one
  of ``AIMQ_ALLOWED_HOSTS``. What sends neither is no browser.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from starlette.types import Scope

from aimq.errors import Forbidden
from aimq.http.headers import header
from aimq.settings import Settings

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE: Final = frozenset({b"same-origin", b"none"})
_OTHER_SITE: Final = "Another web site may not call this one through your browser."


class Hosts:
    """The names in ``Host`` that are answered. Thread-safe.

    The names in ``AIMQ_INTERFACE_URL`` and ``AIMQ_ML_URL`` and those of this machine always are.
    Beside them those in ``AIMQ_ALLOWED_HOSTS``; where it is empty, all names with API keys set, and
    none without. ``AIMQ_ALLOW_OPEN`` adds every IP address: no page can have one as its own name.
    """

    def __init__(self, settings: Settings) -> None:
        own = {urlsplit(url).hostname or "" for url in (settings.interface_url, settings.ml_url)}
        self.listed = frozenset(name.lower() for name in settings.allowed_hosts)
        self._names = self.listed | own | _LOOPBACK
        self._any_address = settings.allow_open and not settings.api_keys
        self._any = "*" in self.listed or bool(settings.api_keys and not self.listed)
        self._is_answered = lru_cache(maxsize=256)(self._look_up)

    def check(self, scope: Scope) -> None:
        """Raise `Forbidden` when the request's ``Host`` is not answered."""
        if not self._any and not self._is_answered(header(scope, b"host")):
            raise Forbidden(
                "This Host is not answered here; AIMQ_ALLOWED_HOSTS names those that are."
            )

    def _look_up(self, host: bytes) -> bool:
        name = host_name(host)
        return not host or name in self._names or (self._any_address and _is_address(name))


class Sites:
    """The web sites that may call. Thread-safe.

    Args:
        listed: host names whose pages may call, beside the one that is asked.
        computing: paths where even GET makes work.
    """

    def __init__(self, listed: frozenset[str], computing: frozenset[str]) -> None:
        self._listed = listed
        self._computing = computing

    def check(self, scope: Scope) -> None:
        """Raise `Forbidden` when a page of another site changes or computes something."""
        reads = scope["type"] == "http" and scope["method"] in _SAFE
        if reads and scope["path"] not in self._computing:
            return
        site = header(scope, b"sec-fetch-site")
        if not (site in _OWN_SITE if site else self._is_own(scope)):
            raise Forbidden(_OTHER_SITE)

    def _is_own(self, scope: Scope) -> bool:
        origin = header(scope, b"origin").lower()
        if not origin:
            return True
        netloc = origin.partition(b"://")[2]
        return netloc == header(scope, b"host").lower() or host_name(netloc) in self._listed


def host_name(netloc: bytes) -> str:
    """Return the name or address of ``host:port``, without port and brackets, in lower case."""
    text = netloc.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
