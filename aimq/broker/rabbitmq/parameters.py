"""``amqp://`` and ``amqps://`` URLs as connection parameters."""

from __future__ import annotations

import ssl
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import pika

from aimq.errors import SettingsError
from aimq.settings import Settings

#: Either side gives up a connection on which nothing arrives for this long, in seconds.
HEARTBEAT_SECONDS: Final = 20
_CONNECT_SECONDS: Final = 5.0


def connection_parameters(settings: Settings) -> list[pika.ConnectionParameters]:
    """Return pika's parameters for each host of ``AIMQ_BROKER_URL``, in order.

    With ``amqps://`` the server's certificate and host name are verified, against the system's
    authorities or those of ``AIMQ_BROKER_CA``; nothing in the URL can switch that off.

    Raises:
        SettingsError: the URL or the file of authorities cannot be used.
    """
    parts = urlsplit(settings.broker_url)
    login, at, hosts = parts.netloc.rpartition("@")
    try:
        found = [
            _parameters_of(urlunsplit((parts.scheme, f"{login}{at}{host}", *parts[2:])))
            for host in hosts.split(",")
        ]
    except (ValueError, TypeError, AttributeError) as exc:
        raise SettingsError(
            "AIMQ_BROKER_URL is not of the form amqp://user:password@host:5672/vhost (or amqps://; "
            f"several hosts are separated by commas): {type(exc).__name__}"
        ) from None  # its text may hold the password
    if parts.scheme == "amqps":
        context = _trust(settings.broker_ca)
        for parameters in found:
            parameters.ssl_options = pika.SSLOptions(context, server_hostname=parameters.host)
    return found


def address_of(parameters: pika.ConnectionParameters) -> str:
    """Return ``host:port/vhost``, without credentials."""
    host = f"[{parameters.host}]" if ":" in parameters.host else parameters.host
    return f"{host}:{parameters.port}/{parameters.virtual_host.lstrip('/')}"


def _parameters_of(url: str) -> pika.ConnectionParameters:
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError("no host")
    parameters = pika.URLParameters(url)
    if "heartbeat" not in parts.query:
        parameters.heartbeat = HEARTBEAT_SECONDS
    parameters.connection_attempts = 1
    parameters.socket_timeout = _CONNECT_SECONDS
    parameters.stack_timeout = 2 * _CONNECT_SECONDS
    return parameters


def _trust(authorities: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities or None)
    except (OSError, ssl.SSLError) as exc:
        raise SettingsError(
            f"AIMQ_BROKER_CA: {authorities} is not a readable file of certificates (PEM): {exc}"
        ) from None
