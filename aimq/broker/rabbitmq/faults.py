"""What went wrong with RabbitMQ, in one line a person can act on. Pure; never has a secret."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from typing import Final

from pika import exceptions

#: AMQP reply codes: access refused, not found, resource locked, precondition failed.
ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404
LOCKED: Final = 405
PRECONDITION_FAILED: Final = 406

_MIGRATE: Final = (
    "It was made by another version or with other retry settings. Use those settings again, or "
    "stop the services, empty the queue, delete it (rabbitmqctl delete_queue {queue} --if-empty) "
    "and start, which makes it anew"
)


def explain(exc: BaseException | str, address: str) -> str:
    """Return why the server at `address` cannot be used.

    Args:
        exc: what pika gave as the reason.
        address: ``host:port/vhost``, without credentials.
    """
    cause = exc if isinstance(exc, str) else _root(exc)
    for kind, words in _WORDS:
        if isinstance(cause, kind):
            return words(cause, address)
    return f"RabbitMQ at {address}: {_reply(_one_line(cause))}"


def is_closed_with(exc: BaseException | None, code: int) -> bool:
    """Tell whether the server closed a channel with this reply code."""
    return isinstance(exc, exceptions.ChannelClosedByBroker) and exc.reply_code == code


def _channel_fault(exc: exceptions.ChannelClosedByBroker, address: str) -> str:
    found = re.search(r"for queue '([^']+)'", exc.reply_text)
    if exc.reply_code == PRECONDITION_FAILED and found:
        queue = found.group(1)
        return (
            f"Queue {queue} of RabbitMQ at {address} exists with other arguments "
            f"({exc.reply_text}). {_MIGRATE.format(queue=queue)}"
        )
    if exc.reply_code == ACCESS_REFUSED:
        return f"RabbitMQ at {address} does not permit this user: {exc.reply_text}"
    return f"RabbitMQ at {address}: {exc.reply_text}"


def _root(exc: BaseException) -> BaseException:
    """Unwrap pika's exceptions around exceptions."""
    while True:
        inner: object = getattr(exc, "exceptions", None) or getattr(exc, "exception", None)
        if isinstance(inner, (list, tuple)):
            inner = inner[-1]
        if not isinstance(inner, BaseException):
            inner = exc.args[0] if exc.args else None
        if not isinstance(inner, BaseException):
            return exc
        exc = inner


def _one_line(cause: BaseException | str) -> str:
    text = cause if isinstance(cause, str) else str(cause) or type(cause).__name__
    return " ".join(text.split())[:300]


def _reply(text: str) -> str:
    """Return the server's own words where pika has wrapped them in its own."""
    found = re.search(r"\(\d{3}[,)] ['\"](?:[A-Z_]+ - )?([^'\"]+)", text)
    return found.group(1) if found else text


def _login(_cause: BaseException, address: str) -> str:
    return f"RabbitMQ at {address} refused the login; check the user and the password"


def _vhost(cause: BaseException, address: str) -> str:
    return f"RabbitMQ at {address} refused the vhost: {_reply(_one_line(cause))}"


def _name(cause: socket.gaierror, address: str) -> str:
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


#: The more special first.
_WORDS: Final[list[tuple[type[BaseException], Callable[..., str]]]] = [
    (exceptions.ProbableAuthenticationError, _login),
    (exceptions.ProbableAccessDeniedError, _vhost),
    (exceptions.ChannelClosedByBroker, _channel_fault),
    (ssl.SSLCertVerificationError, _certificate),
    (ssl.SSLError, _tls),
    (socket.gaierror, _name),
    (OSError, _network),
]
