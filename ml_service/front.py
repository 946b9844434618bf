"""Refusals at the HTTP parser: what is not let in costs neither a task nor a walk to its endpoint.

Under overload most requests are refused, so what a refusal costs decides how soon they are told,
and how much is left for those that are let in. The server's protocol asks the gate as soon as the
headers are there, before the body is read; a refusal is bytes made beforehand, written at once.
Who is let in is known again at the endpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import ClassVar, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from aimq.errors import AimqError, Overloaded, RateLimited, Unauthorized
from ml_service.admission import Gate
from ml_service.endpoint import problem_reply
from ml_service.metrics import RequestStats


class Front:
    """Refuses requests for some paths. Belongs to the event loop.

    Args:
        gate: decides.
        routes: path to its counters; every POST there must reach an endpoint of that gate, or
            what is let in here never leaves.
    """

    def __init__(self, gate: Gate, routes: Mapping[str, RequestStats]) -> None:
        self._gate = gate
        self._routes = {path.encode(): stats for path, stats in routes.items()}

    def refusal(self, path: bytes, scope: Scope) -> tuple[int, bytes] | None:
        """Return the status that refuses a POST, and the answer after the date; or let it in."""
        stats = self._routes.get(path)
        if stats is None:
            return None
        try:
            self._gate.enter_early(scope)
        except Unauthorized:
            return None  # the endpoint says so
        except (RateLimited, Overloaded) as exc:
            stats.refused(exc.status)
            wait = max(1, math.ceil(exc.retry_after or 1))
            headers = tuple(self._gate.headers(exc).items())
            kind: Callable[..., AimqError] = type(exc)
            return exc.status, _written(kind, exc.detail, wait, headers)
        return None

    def protocol(self) -> type[HttpToolsProtocol]:
        """Return the protocol class to serve with."""
        return type("FrontProtocol", (_Protocol,), {"front": self})


@lru_cache(maxsize=256)
def _written(
    kind: Callable[..., AimqError], detail: str, wait: int, headers: tuple[tuple[str, str], ...]
) -> bytes:
    reply = problem_reply(kind(detail, retry_after=wait), dict(headers))
    lines = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    return b"".join(b"%s: %s\r\n" % line for line in lines) + b"\r\n" + reply.body


class _Protocol(HttpToolsProtocol):
    front: ClassVar[Front]
    _refused = False

    def on_headers_complete(self) -> None:
        self._refused = False
        if self._may_refuse():
            refusal = self.front.refusal(self.url, cast("Scope", self.scope))
            if refusal is not None:
                self._refused = True
                status, rest = refusal
                dated = [b"%s: %s\r\n" % line for line in self.server_state.default_headers]
                self.transport.write(b"".join((STATUS_LINE[status], *dated, rest)))
        if not self._refused:
            super().on_headers_complete()

    def _may_refuse(self) -> bool:
        """Whether this is a plain POST on a connection that stays open and has no other."""
        return bool(
            self.parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
        )

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused:
            self.on_response_complete()
        else:
            super().on_message_complete()
