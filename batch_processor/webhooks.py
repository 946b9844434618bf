"""Works on webhooks: results of tasks, sent to clients' servers, signed, never into our network.

A webhook is a job of its own (`webhook_job`), stored before its task is settled and published
after: if the process is killed in between, the interface's sweep publishes it, and it waits until
the task is final. A receiver may be told twice; ``webhook-id`` is the same both times.

The receiver's name is resolved here, and the address that was checked is the one connected to. If
the connection resolved the name again, a name server could answer with a public address first and
with one of ours then (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from ssl import SSLContext
from typing import Final

import httpx
import msgspec

from aimq.backoff import parse_retry_after
from aimq.errors import ClientError, Gone, WebhookFailed
from aimq.jobs.answer import answer
from aimq.jobs.job import Job
from aimq.jobs.port import JobStore
from aimq.settings import Settings
from aimq.webhooks.address import check_url, is_public
from aimq.webhooks.signature import signed_headers
from batch_processor.disposition import Ack, Defer
from batch_processor.work import Work

#: Time until a task that is not final yet is looked up again, in seconds.
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
            return Ack()  # deleted by its owner, who wants no more news of it
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
        try:
            url = httpx.URL(task.callback_url)
        except httpx.InvalidURL as exc:
            raise ClientError(f"The callback URL cannot be used ({exc}).") from exc
        headers = {
            "Host": url.netloc.decode(),
            "Content-Type": "application/json",
            "User-Agent": "AIMQ",
            **signed,
        }
        _check_answer(self._post(url, headers, body))

    def _post(self, url: httpx.URL, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        """Return the answer; its body is not read."""
        seconds = self._settings.webhook_timeout_seconds
        host = url.raw_host.decode()
        try:
            addresses = _addresses(host, url.port, self._settings.webhook_allow_private)
            request = self._exchange(url, addresses, headers, body)
            return asyncio.run(asyncio.wait_for(request, seconds))
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise WebhookFailed(f"{host} gave no answer in {seconds:g} s.") from exc
        except (httpx.HTTPError, OSError, UnicodeError) as exc:
            why = str(exc) or type(exc).__name__
            raise WebhookFailed(f"{host} cannot be reached ({why}).") from exc

    async def _exchange(
        self, url: httpx.URL, addresses: Sequence[str], headers: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        """Post to the first address that takes the connection."""
        failure: Exception = httpx.ConnectError("its name has no address")
        async with httpx.AsyncClient(verify=self._tls, timeout=None, trust_env=False) as client:  # noqa: S113 # `wait_for` bounds all of it
            for address in addresses:
                try:
                    async with client.stream(
                        "POST",
                        url.copy_with(host=address),
                        headers=headers,
                        content=body,
                        extensions={"sni_hostname": url.raw_host.decode()},
                    ) as response:
                        return response
                except httpx.ConnectError as exc:
                    failure = exc
        raise failure

    @cached_property
    def _tls(self) -> SSLContext:
        return httpx.create_ssl_context(trust_env=False)


def _addresses(host: str, port: int | None, allow_private: bool) -> list[str]:  # noqa: FBT001 # a setting
    """Return the addresses of a name. Raises `ClientError` if one is not public, and `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and not all(map(is_public, addresses)):
        raise ClientError(
            f"The callback URL's host {host[:200]!r} leads to a loopback, private or "
            "link-local address, where no webhook is sent."
        )
    return addresses


def _check_answer(response: httpx.Response) -> None:
    """Raise unless the receiver took the webhook."""
    status = response.status_code
    if status in _OK:
        return
    if status == HTTPStatus.GONE:
        raise Gone("The receiver wants no more webhooks at this URL (410).")
    if status in _REDIRECT:
        raise WebhookFailed(f"The receiver redirects ({status}), which is not followed.")
    retry_after = parse_retry_after(response.headers.get("Retry-After", ""))
    raise WebhookFailed(
        f"The receiver answers {status}.",
        retry_after=retry_after if status in _RETRY_LATER else None,
    )
