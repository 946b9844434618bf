"""pika's exceptions as one line that a person can act on. Pure; a line never has a secret."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from typing import Final

from pika import exceptions

from aimq.errors import BrokerUnavailable

#: AMQP reply codes: access refused, not found, resource locked, precondition failed.
ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404
LOCKED: Final = 405
PRECONDITION_FAILED: Final = 406


def unavailable(exc: BaseException, address: str) -> BrokerUnavailable:
    """Return why the server at `address` (``host:port/vhost``) cannot be used.

    The cause of the error is `exc`, as pika raised it.
    """
    root = _root(exc)
    words = next((words for kind, words in _WORDS if isinstance(root, kind)), _other)
    error = BrokerUnavailable(words(root, address))
    error.__cause__ = exc
    return error


def is_closed_with(error: BrokerUnavailable, code: int) -> bool:
    """True if the server closed a channel with this reply code."""
    cause = error.__cause__
    return isinstance(cause, exceptions.ChannelClosedByBroker) and cause.reply_code == code


def _root(exc: BaseException) -> BaseException:
    """Return the innermost of pika's exceptions around exceptions."""
    while True:
        inner: object = getattr(exc, "exceptions", None) or getattr(exc, "exception", None)
        if isinstance(inner, (list, tuple)):
            inner = inner[-1]
        if not isinstance(inner, BaseException):
            inner = exc.args[0] if exc.args else None
        if not isinstance(inner, BaseException):
            return exc
        exc = inner


def _one_line(cause: BaseException) -> str:
    return " ".join((str(cause) or type(cause).__name__).split())[:300]


def _reply(text: str) -> str:
    """Return the server's words without those that pika puts around them."""
    found = re.search(r"\(\d{3}[,)] ['\"](?:[A-Z_]+ - )?([^'\"]+)", text)
    return found.group(1) if found else text


def _channel_closed(exc: exceptions.ChannelClosedByBroker, address: str) -> str:
    found = re.search(r"for queue '([^']+)'", exc.reply_text)
    if exc.reply_code == PRECONDITION_FAILED and found:
        queue = found.group(1)
        return (
            f"Queue {queue} of RabbitMQ at {address} exists with other arguments "
            f"({exc.reply_text}). Another version or another program made it. Stop the services, "
            f"empty the queue, delete it (rabbitmqctl delete_queue {queue}) and start them: they "
            "create it again"
        )
    if exc.reply_code == ACCESS_REFUSED:
        return f"RabbitMQ at {address} does not permit this user: {exc.reply_text}"
    return f"RabbitMQ at {address}: {exc.reply_text}"


def _login(_cause: BaseException, address: str) -> str:
    return f"RabbitMQ at {address} refused the login; check the user and the password"


def _vhost(cause: BaseException, address: str) -> str:
    return f"RabbitMQ at {address} refused the vhost: {_reply(_one_line(cause))}"


def _host_name(cause: socket.gaierror, address: str) -> str:
    return f"The host name of RabbitMQ at {address} cannot be resolved: {cause.strerror}"


def _certificate(cause: ssl.SSLCertVerificationError, address: str) -> str:
    return (
        f"The certificate of RabbitMQ at {address} is not trusted: {cause.verify_message}; "
        "AIMQ_BROKER_CA names a file of authorities to trust"
    )


def _tls(cause: ssl.SSLError, address: str) -> str:
    return f"RabbitMQ at {address} does not speak TLS as asked for: {cause.reason}"


def _network(cause: OSError, address: str) -> str:
    return f"RabbitMQ at {address} cannot be reached: {cause.strerror or _one_line(cause)}"


def _other(cause: BaseException, address: str) -> str:
    return f"RabbitMQ at {address}: {_reply(_one_line(cause))}"


#: A subclass stands before its base class.
_WORDS: Final[list[tuple[type[BaseException], Callable[..., str]]]] = [
    (exceptions.ProbableAuthenticationError, _login),
    (exceptions.ProbableAccessDeniedError, _vhost),
    (exceptions.ChannelClosedByBroker, _channel_closed),
    (ssl.SSLCertVerificationError, _certificate),
    (ssl.SSLError, _tls),
    (socket.gaierror, _host_name),
    (OSError, _network),
]
