"""Request headers of an ASGI scope."""

from __future__ import annotations

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> bytes:
    """Return the first value of a request header, or ``b""``.

    Args:
        name: in lower case.
    """
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return b""
