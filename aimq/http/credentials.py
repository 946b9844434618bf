"""Who calls: one of our services, a client with an API key, or neither."""

from __future__ import annotations

import base64
import binascii
import enum
import hmac
from typing import Final

from starlette.types import Scope

from aimq.http.headers import header
from aimq.settings import Settings

#: A browser cannot add headers to a WebSocket, but it can name subprotocols: this one, which the
#: service accepts, and one that carries the key as unpadded base64url.
PROTOCOL: Final = "aimq"
KEY_PROTOCOL: Final = "aimq.key."


class Caller(enum.Enum):
    """Whose credentials a request carries."""

    CLIENT = "client"
    INTERNAL = "internal"


class Credentials:
    """Checks API keys and the internal token in constant time. Immutable; thread-safe.

    Attributes:
        required: API keys are set, so that every caller needs a key or the token.
    """

    def __init__(self, settings: Settings) -> None:
        self._keys = [key.encode() for key in settings.api_keys]
        self._bearer = f"Bearer {settings.internal_token}".encode()
        self._has_token = bool(settings.internal_token)
        self.required = bool(self._keys)

    def caller(self, scope: Scope) -> Caller | None:
        """Return who calls; None without valid credentials.

        The internal token comes as ``Authorization: Bearer``, a key as ``X-API-Key`` or in a
        WebSocket's subprotocol.
        """
        if self._has_token and hmac.compare_digest(header(scope, b"authorization"), self._bearer):
            return Caller.INTERNAL
        if self._keys and self._is_key(header(scope, b"x-api-key") or _protocol_key(scope)):
            return Caller.CLIENT
        return None

    def _is_key(self, given: bytes) -> bool:
        # Every key is compared, so that the time taken says nothing about them.
        return any([hmac.compare_digest(given, key) for key in self._keys])  # noqa: C419 # as said


def _protocol_key(scope: Scope) -> bytes:
    for protocol in scope.get("subprotocols", ()):
        if protocol.startswith(KEY_PROTOCOL):
            text = protocol.removeprefix(KEY_PROTOCOL)
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except (binascii.Error, ValueError):
                return b""
    return b""
