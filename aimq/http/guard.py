"""Who may call: one rule for both HTTP services.

Liveness, readiness and ``/metrics`` are open to all who reach the port, under any ``Host``: the
cluster and Prometheus call them by address and without credentials. ``/docs``, its files and
``/openapi.json`` are open as well, so that a browser can show them and take a key there. Everything
else needs an API key or the internal token as soon as API keys are set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from aimq.errors import AimqError, Unauthorized
from aimq.http import problems
from aimq.http.credentials import Caller, Credentials
from aimq.http.origins import Hosts, Sites
from aimq.http.probes import PATHS as PROBES
from aimq.settings import Settings

_DOCUMENTATION: Final = frozenset({"/docs", "/openapi.json"})
_DOCUMENTATION_FILES: Final = "/docs/files/"
_CALLER: Final = "aimq.caller"


class Guard:
    """ASGI middleware that answers who may not call with a problem document. Thread-safe.

    Args:
        open_paths: paths that need no key, beside probes and documentation.
        computing: paths where even GET makes work, so that no other web site may ask for them.
        on_refusal: called for each refusal with the scope and the status.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        *,
        open_paths: Iterable[str] = (),
        computing: Iterable[str] = (),
        on_refusal: Callable[[Scope, int], None] | None = None,
    ) -> None:
        self._app = app
        self._credentials = Credentials(settings)
        self._hosts = Hosts(settings)
        self._sites = Sites(self._hosts.listed, frozenset(computing))
        self._open = _DOCUMENTATION | frozenset(open_paths)
        self._on_refusal = on_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        try:
            self._check(scope)
        except AimqError as exc:
            if self._on_refusal is not None:
                self._on_refusal(scope, exc.status)
            await refuse(exc, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        if scope["type"] == "lifespan" or scope["path"] in PROBES:
            return
        self._hosts.check(scope)
        self._sites.check(scope)
        scope[_CALLER] = caller = self._credentials.caller(scope)
        if self._credentials.required and caller is None and not self._is_open(scope["path"]):
            raise Unauthorized("An API key is needed: send it in the header X-API-Key.")

    def _is_open(self, path: str) -> bool:
        return path in self._open or path.startswith(_DOCUMENTATION_FILES)


def caller_of(scope: Scope) -> Caller | None:
    """Return whose credentials the guard found; None without any."""
    caller: Caller | None = scope.get(_CALLER)
    return caller


async def refuse(error: AimqError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a WebSocket that is not accepted yet, with a problem document."""
    extensions = scope.get("extensions", {})
    if scope["type"] == "websocket" and "websocket.http.response" not in extensions:
        await send({"type": "websocket.close", "code": 1008})
    else:
        await problems.response(error)(scope, receive, send)
