"""Who asks: a service of ours, a client with a key, or anybody."""

from __future__ import annotations

import hmac

from starlette.types import Scope

from aimq.errors import Unauthorized
from aimq.settings import Settings
from ml_service.bodies import header


class Access:
    """Checks credentials. Immutable; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [key.encode() for key in sorted(settings.api_keys)]
        self._bearer = f"Bearer {settings.internal_token}".encode()
        self._has_token = bool(settings.internal_token)

    def is_internal(self, scope: Scope) -> bool:
        """Tell whether the request carries the token of our services."""
        if not self._has_token:
            return False
        return hmac.compare_digest(header(scope, b"authorization"), self._bearer)

    def check(self, scope: Scope) -> bool:
        """Let the request in, and tell whether it is internal.

        Raises:
            Unauthorized: keys are set, and it has none of them, nor the token.
        """
        internal = self.is_internal(scope)
        if internal or not self._keys:
            return internal
        given = header(scope, b"x-api-key")
        if not any([hmac.compare_digest(given, key) for key in self._keys]):  # noqa: C419 # all, always
            raise Unauthorized("Send a valid key in the header X-API-Key.")
        return False
