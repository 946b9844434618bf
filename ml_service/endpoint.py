"""From a handler to an ASGI endpoint: admission, errors as problem documents, metrics.

Predictions take microseconds, so what surrounds them must too: these endpoints are called before
the framework's routing (`ml_service.app`), and stand in the OpenAPI document all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from starlette.types import Receive, Scope, Send

from aimq.errors import AimqError, InternalError
from aimq.http import problems
from ml_service.bodies import Disconnected
from ml_service.metrics import RequestStats

logger = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]


class Reply(NamedTuple):
    """What is answered.

    Attributes:
        headers: everything but the content length.
        quick: the answer was to come within the latency target; those of large requests are not.
    """

    body: bytes
    headers: Headers
    status: int = 200
    quick: bool = True


class Handler(Protocol):
    """Answers requests."""

    async def __call__(self, scope: Scope, receive: Receive) -> Reply:
        """Answer a request. Raises `AimqError`, and `Disconnected` when nobody waits any more."""
        ...


@runtime_checkable
class ImmediateHandler(Handler, Protocol):
    """A handler that answers most requests in one go, without waiting for anything."""

    @property
    def is_immediate(self) -> bool:
        """Whether it does at present."""
        ...

    def at_once(self, scope: Scope, body: bytes) -> Reply | None:
        """Answer a request, or return None for one that takes waiting. Raises `AimqError`."""
        ...


#: Writes an error, with headers of its own.
ProblemWriter = Callable[[AimqError, dict[str, str]], Reply]


class Admission(Protocol):
    """Decides which requests are worked on."""

    def enter(self, scope: Scope) -> float:
        """Admit a request, and return when that was. Every admitted one leaves again.

        Raises:
            Unauthorized: credentials are needed.
            RateLimited: this client asks too often.
            Overloaded: too much is under way.
        """
        ...

    def leave(self, scope: Scope, entered: float, *, quick: bool, at_once: bool = False) -> float:
        """Count the request as done; return the seconds it took.

        Args:
            quick: it was to be answered within the latency target; large ones are not.
            at_once: it was answered in the turn of the event loop in which it was admitted.
        """
        ...

    def headers(self, error: AimqError) -> dict[str, str]:
        """Return the headers that tell a refused client the limits."""
        ...


class Endpoint:
    """An ASGI application for one path and the method POST.

    Args:
        problem: writes an error's document: `problem_reply`, or as another protocol has it.

    Attributes:
        stats: its counters.
    """

    def __init__(
        self,
        handler: Handler,
        admission: Admission,
        stats: RequestStats,
        problem: ProblemWriter,
    ) -> None:
        self._handler = handler
        self._immediate = handler if isinstance(handler, ImmediateHandler) else None
        self._admission = admission
        self.stats = stats
        self._problem = problem

    @property
    def is_immediate(self) -> bool:
        """Whether `at_once` may answer at present."""
        return self._immediate is not None and self._immediate.is_immediate

    def at_once(self, scope: Scope, body: bytes) -> Reply | None:
        """Answer a request that was admitted early and is immediate; None: call this instead."""
        assert self._immediate is not None  # noqa: S101 # the caller has asked
        try:
            reply = self._immediate.at_once(scope, body)
        except Exception as exc:  # noqa: BLE001 # answered, and logged where it is a bug
            reply = self._failed(scope, exc)
        if reply is None:
            return None
        entered = self._admission.enter(scope)
        seconds = self._admission.leave(scope, entered, quick=reply.quick, at_once=True)
        self.stats.answered(reply.status, seconds)
        return reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            entered = self._admission.enter(scope)
        except AimqError as exc:
            self.stats.refused(exc.status)
            await _send(send, self._problem(exc, self._admission.headers(exc)))
            return
        try:
            reply = await self._handler(scope, receive)
        except Disconnected:
            self._admission.leave(scope, entered, quick=False)
            return
        except Exception as exc:  # noqa: BLE001 # answered, and logged where it is a bug
            reply = self._failed(scope, exc)
        except BaseException:
            self._admission.leave(scope, entered, quick=False)
            raise
        seconds = self._admission.leave(scope, entered, quick=reply.quick)
        self.stats.answered(reply.status, seconds)
        await _send(send, reply)

    def _failed(self, scope: Scope, exc: Exception) -> Reply:
        error = exc if isinstance(exc, AimqError) else InternalError(_UNEXPECTED)
        if error.status == InternalError.status:
            logger.error("%s failed", scope["path"], exc_info=exc)
        return self._problem(error, {})._replace(quick=False)


_UNEXPECTED = "Something went wrong on our side; the log has the details."


def problem_reply(error: AimqError, headers: dict[str, str]) -> Reply:
    """Return an error as a problem document (RFC 9457)."""
    response = problems.response(error, headers)
    raw = [(key, value) for key, value in response.raw_headers if key != b"content-length"]
    return Reply(bytes(response.body), raw, response.status_code)


async def _send(send: Send, reply: Reply) -> None:
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
