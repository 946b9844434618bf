"""Who is let in."""

from __future__ import annotations

import time

from starlette.types import Scope

from aimq.errors import AimqError
from aimq.settings import Settings
from ml_service.access import Access


class Gate:
    """Admits requests. Belongs to the event loop."""

    def __init__(self, settings: Settings, access: Access) -> None:
        self._access = access

    def enter(self, scope: Scope) -> float:
        """Admit a request; see `ml_service.endpoint.Admission`."""
        self._access.check(scope)
        return time.perf_counter()

    def leave(self, entered: float) -> float:
        """Count the request as done."""
        return time.perf_counter() - entered

    def headers(self, error: AimqError) -> dict[str, str]:
        """Return headers for a refused client."""
        return {}
