"""What of the ML service is refused, or answered, at the HTTP parser.

Under overload most requests are refused, so what a refusal costs decides how soon they are told,
and how much is left for those that are let in. The gate is asked as soon as the headers are there;
a refusal is bytes made beforehand. A record that the event loop may predict is answered at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from starlette.types import Scope

from aimq.errors import AimqError, Overloaded, RateLimited, Unauthorized
from aimq.http import problems
from aimq.http.front import Respond, Written, written
from ml_service.admission import Gate
from ml_service.endpoint import Endpoint


class EndpointDesk:
    """The `aimq.http.front.Desk` of an endpoint. Belongs to the event loop.

    Args:
        gate: decides who is let in; the endpoint's.
    """

    def __init__(self, gate: Gate, path: str, endpoint: Endpoint) -> None:
        self._gate = gate
        self._path = path
        self._endpoint = endpoint

    def refusal(self, scope: Scope) -> Written | None:
        """See `Desk.refusal`; what is not refused is admitted, and counts from now on."""
        try:
            self._gate.enter_early(scope)
        except Unauthorized:
            return None  # the endpoint says so
        except (RateLimited, Overloaded) as exc:
            self._endpoint.stats.refused(exc.status)
            wait = max(1, math.ceil(exc.retry_after or 1))
            headers = tuple(self._gate.headers(exc).items())
            kind: Callable[..., AimqError] = type(exc)
            return _refusal(kind, exc.detail, wait, headers)
        return None

    def is_open(self) -> bool:
        """See `Desk.is_open`."""
        return self._endpoint.is_immediate

    def take(self, scope: Scope, body: bytes, respond: Respond) -> bool:
        """See `Desk.take`; what is taken is answered before this returns."""
        scope["path"] = self._path
        reply = self._endpoint.at_once(scope, body)
        if reply is None:
            return False
        respond(written(reply.status, reply.headers, reply.body))
        return True


@lru_cache(maxsize=256)
def _refusal(
    kind: Callable[..., AimqError], detail: str, wait: int, headers: tuple[tuple[str, str], ...]
) -> Written:
    return problems.written_problem(kind(detail, retry_after=wait), dict(headers))
