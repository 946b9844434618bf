"""Tells clients' servers of finished tasks: signed, durable, and never into our own network.

A webhook is a job of its own (`announcement`), stored before its task is settled and published
after: whatever is killed in between, the interface's sweep publishes it, and it waits until the
task is final. A receiver may be told twice; ``webhook-id`` is the same both times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from ssl import SSLContext
from typing import Final
from urllib.parse import urlsplit

import httpcore
import httpx
import msgspec

from aimq.errors import ClientError, Gone, WebhookFailed
from aimq.jobs.answer import answer
from aimq.jobs.job import Job
from aimq.jobs.port import JobStore
from aimq.settings import Settings
from aimq.webhooks.address import check_url
from aimq.webhooks.signature import signed_headers
from batch_processor.disposition import Ack, Defer
from batch_processor.guarded_network import GuardedNetwork
from batch_processor.work import Work

#: Time until the next look at a task that is not final yet, in seconds.
_LOOK_SECONDS: Final = 2.0
_OK: Final = range(200, 300)
_REDIRECT: Final = range(300, 400)
_RETRY_LATER: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class WebhookHandler:
    """Sends one webhook at a time per thread. Thread-safe.

    Args:
        clock: seconds since 1970.
    """

    def __init__(
        self, store: JobStore, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._settings, self._clock = store, settings, clock

    def __call__(self, work: Work) -> Ack | Defer:
        """Send the webhook of a job.

        Raises:
            WebhookFailed: to be tried again later.
            ClientError: it must not, or no longer, be sent.
            StoreUnavailable: the task cannot be looked up.
        """
        task = self._store.get(msgspec.json.decode(work.job.input)["task_id"])
        if task is None or not task.callback_url:
            return Ack()  # deleted by its owner, who wants to hear no more of it
        if not task.final:
            return Defer(_LOOK_SECONDS)
        self._send(task)
        return Ack()

    def _send(self, task: Job) -> None:
        settings = self._settings
        if not settings.webhook_secret:
            raise ClientError(
                "Webhooks are not signed and so not sent: AIMQ_WEBHOOK_SECRET is not set here. Set "
                "it as in the interface, and replay the dead letter."
            )
        problem = check_url(task.callback_url, allow_private=settings.webhook_allow_private)
        if problem:
            raise ClientError(f"The callback URL {problem}.")
        body = answer(task)
        signed = signed_headers(
            settings.webhook_secret, f"{task.job_id}-{task.status}", int(self._clock()), body
        )
        headers = {
            b"Host": urlsplit(task.callback_url).netloc.encode(),
            b"Content-Type": b"application/json",
            b"Content-Length": b"%d" % len(body),
            b"User-Agent": b"AIMQ",
            **{name.encode(): value.encode() for name, value in signed.items()},
        }
        self._judge(*self._post(task.callback_url, headers, body))

    def _post(self, url: str, headers: Mapping[bytes, bytes], body: bytes) -> tuple[int, str]:
        """Return the answer's status and ``Retry-After``; its body is not read."""
        settings = self._settings
        host = urlsplit(url).hostname
        network = GuardedNetwork(
            settings.webhook_timeout_seconds, allow_private=settings.webhook_allow_private
        )
        tls = self._tls if url.startswith("https:") else None
        timeout = dict.fromkeys(
            ("connect", "read", "write", "pool"), settings.webhook_timeout_seconds
        )
        try:
            with (
                httpcore.ConnectionPool(ssl_context=tls, network_backend=network) as pool,
                pool.stream(
                    "POST",
                    url,
                    headers=list(headers.items()),
                    content=body,
                    extensions={"timeout": timeout},
                ) as response,
            ):
                given = {name.lower(): value for name, value in response.headers}
                return response.status, given.get(b"retry-after", b"").decode("latin-1")
        except httpcore.TimeoutException as exc:
            raise WebhookFailed(
                f"{host} gave no answer in {settings.webhook_timeout_seconds:g} s."
            ) from exc
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as exc:
            raise WebhookFailed(f"{host} cannot be reached ({exc or type(exc).__name__}).") from exc

    @cached_property
    def _tls(self) -> SSLContext:
        return httpx.create_ssl_context(trust_env=False)

    @staticmethod
    def _judge(status: int, retry_after: str) -> None:
        if status in _OK:
            return
        if status == HTTPStatus.GONE:
            raise Gone("The receiver wants no more webhooks at this URL (410).")
        if status in _REDIRECT:
            raise WebhookFailed(f"The receiver redirects ({status}), which is not followed.")
        seconds = float(retry_after) if retry_after.isdecimal() and len(retry_after) < 6 else None  # noqa: PLR2004 # a day
        raise WebhookFailed(
            f"The receiver answers {status}.",
            retry_after=seconds if status in _RETRY_LATER else None,
        )
