"""Who may call: API keys, the internal token, and no other web site on a visitor's behalf."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from aimq.errors import AimqError, Unauthorized
from aimq.http import problems
from aimq.http.probes import PATHS

#: The page itself holds no data; what it then asks for needs the key.
_OPEN: Final = frozenset({*PATHS, "/", "/page/page.js", "/page/page.css", "/page/icon.svg"})
#: A browser cannot add headers to a WebSocket; it can name subprotocols: this one, which is
#: agreed to, and one that carries the key.
PROTOCOL: Final = "aimq"
KEY_PROTOCOL: Final = "aimq.key."
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI middleware. Thread-safe.

    Args:
        api_keys: accepted in ``X-API-Key``; none: everybody who reaches the port may call.
        internal_token: accepted as ``Authorization: Bearer``; "" for none.
    """

    def __init__(self, app: ASGIApp, api_keys: frozenset[str], internal_token: str) -> None:
        self._app = app
        self._keys = [key.encode() for key in api_keys]
        self._token = f"Bearer {internal_token}".encode() if internal_token else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem document."""
        if scope["type"] == "lifespan" or scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        refusal = self.refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refuse(refusal, scope, receive, send)

    def refusal(self, scope: Scope) -> AimqError | None:
        """Return why a request may not pass; None: it may."""
        changes = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if not self._keys and not changes:
            return None
        headers = Headers(scope=scope)
        if self._keys and not self._known(headers, scope):
            return Unauthorized("An API key is needed: send it in the header X-API-Key.")
        if changes and headers.get("sec-fetch-site") == "cross-site":
            return Unauthorized("Another web site may not call this one through your browser.")
        return None

    def _known(self, headers: Headers, scope: Scope) -> bool:
        given = headers.get("x-api-key", "").encode("latin-1") or _protocol_key(scope)
        # Every key is compared, so that the time taken tells nothing.
        matches = [hmac.compare_digest(given, key) for key in self._keys]
        bearer = headers.get("authorization", "").encode("latin-1")
        internal = bool(self._token) and hmac.compare_digest(bearer, self._token)
        return any(matches) or internal


async def refuse(error: AimqError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a WebSocket that is not accepted yet, with a problem document."""
    extensions = scope.get("extensions", {})
    if scope["type"] == "websocket" and "websocket.http.response" not in extensions:
        await send({"type": "websocket.close", "code": 1008})
    else:
        await problems.response(error)(scope, receive, send)


def _protocol_key(scope: Scope) -> bytes:
    """Return the key that a WebSocket's subprotocol carries as unpadded base64url, or nothing."""
    for protocol in scope.get("subprotocols", []):
        if protocol.startswith(KEY_PROTOCOL):
            text = protocol.removeprefix(KEY_PROTOCOL)
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except (binascii.Error, ValueError):
                return b""
    return b""
