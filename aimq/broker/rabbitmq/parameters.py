"""``AMQP`` URLs as connection parameters."""

from __future__ import annotations

import ssl
from typing import Final
from urllib.parse import unquote, urlsplit

import pika

from aimq.errors import SettingsError
from aimq.settings import Settings

#: Without a sign of life for this long, in seconds, either side gives the connection up.
HEARTBEAT_SECONDS: Final = 20
_CONNECT_SECONDS: Final = 5.0


def connection_parameters(settings: Settings) -> pika.ConnectionParameters:
    """Return pika's parameters for ``AIMQ_BROKER_URL``.

    With ``amqps://`` the server's certificate and host name are verified, against the system's
    authorities or those of ``AIMQ_BROKER_CA``; nothing in the URL can switch that off.

    Raises:
        SettingsError: the URL or the file of authorities cannot be used.
    """
    parts = urlsplit(settings.broker_url)
    try:
        if not parts.hostname or parts.port == 0:
            raise ValueError("no host")  # noqa: TRY301 # one place to word it
        parameters = pika.URLParameters(settings.broker_url)
    except (ValueError, TypeError, AttributeError) as exc:
        raise SettingsError(
            "AIMQ_BROKER_URL is not of the form amqp://user:password@host:5672/vhost "
            f"(or amqps://): {type(exc).__name__}"
        ) from None  # its text may hold the password
    if "heartbeat" not in parts.query:
        parameters.heartbeat = HEARTBEAT_SECONDS
    parameters.connection_attempts = 1
    parameters.socket_timeout = _CONNECT_SECONDS
    parameters.stack_timeout = 2 * _CONNECT_SECONDS
    if parts.scheme == "amqps":
        context = _trust(settings.broker_ca)
        parameters.ssl_options = pika.SSLOptions(context, server_hostname=parts.hostname)
    return parameters


def address_of(url: str) -> str:
    """Return ``host:port/vhost`` of a URL, without credentials."""
    parts = urlsplit(url)
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    vhost = unquote(parts.path[1:]) or "/"
    return f"{host}:{port}/{vhost.lstrip('/')}"


def _trust(authorities: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities or None)
    except (OSError, ssl.SSLError) as exc:
        raise SettingsError(
            f"AIMQ_BROKER_CA: {authorities} is not a readable file of certificates (PEM): {exc}"
        ) from None
