"""pika's exceptions as one line that a person can act on. Pure; a line never has a secret."""

from __future__ import annotations

import re
import socket
import ssl
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
    error = BrokerUnavailable(_explain(_root(exc), address))
    error.__cause__ = exc
    return error


def is_closed_with(error: BrokerUnavailable, code: int) -> bool:
    """True if the server closed a channel with this reply code."""
    cause = error.__cause__
    return isinstance(cause, exceptions.ChannelClosedByBroker) and cause.reply_code == code


def _explain(cause: BaseException, address: str) -> str:
    server = f"RabbitMQ at {address}"
    match cause:  # a subclass stands before its base class
        case exceptions.ProbableAuthenticationError():
            text = f"{server} refused the login; check the user and the password"
        case exceptions.ProbableAccessDeniedError():
            text = f"{server} refused the vhost: {_reply(_one_line(cause))}"
        case exceptions.ChannelClosedByBroker():
            text = _channel_closed(cause, server)
        case ssl.SSLCertVerificationError():
            text = (
                f"The certificate of {server} is not trusted: {cause.verify_message}; "
                "AIMQ_BROKER_CA names a file of authorities to trust"
            )
        case ssl.SSLError():
            text = f"{server} does not speak TLS as asked for: {cause.reason}"
        case socket.gaierror():
            text = f"The host name of {server} cannot be resolved: {cause.strerror}"
        case OSError():
            text = f"{server} cannot be reached: {cause.strerror or _one_line(cause)}"
        case _:
            text = f"{server}: {_reply(_one_line(cause))}"
    return text


def _channel_closed(exc: exceptions.ChannelClosedByBroker, server: str) -> str:
    found = re.search(r"for queue '([^']+)'", exc.reply_text)
    if exc.reply_code == PRECONDITION_FAILED and found:
        queue = found.group(1)
        return (
            f"Queue {queue} of {server} exists with other arguments "
            f"({exc.reply_text}). Another version or another program made it. Stop the services, "
            f"empty the queue, delete it (rabbitmqctl delete_queue {queue}) and start them: they "
            "create it again"
        )
    if exc.reply_code == ACCESS_REFUSED:
        return f"{server} does not permit this user: {exc.reply_text}"
    return f"{server}: {exc.reply_text}"


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
