"""When to come back, where an adapter that is away does not say."""

from __future__ import annotations

from typing import Final

from aimq.errors import AimqError, TransientError

_SECONDS: Final = 5.0


def timed(exc: AimqError) -> AimqError:
    """Return the error; a transient one with the seconds after which to try again."""
    if isinstance(exc, TransientError) and exc.retry_after is None:
        exc.retry_after = _SECONDS
    return exc
