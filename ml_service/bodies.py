"""Reading request bodies within bounds, and telling what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from starlette.types import Receive, Scope

from aimq.errors import ClientError, Overloaded, TooLarge, UnsupportedMedia

JSON: Final = "application/json"
ARROW: Final = "application/vnd.apache.arrow.stream"

_decoder: Final = msgspec.json.Decoder()


class Budget:
    """Bytes of large bodies held at one time. Belongs to the event loop."""

    def __init__(self, most: int) -> None:
        self._left = most

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes bytes; what it took is given back at the end.

        It raises `Overloaded` when there are not as many left.
        """
        taken = 0

        def take(amount: int) -> None:
            nonlocal taken
            if amount > self._left:
                raise Overloaded("Too many large bodies are under way.", retry_after=1.0)
            self._left -= amount
            taken += amount

        try:
            yield take
        finally:
            self._left += taken


class Disconnected(ClientError):
    """The client went away before its request was complete; nobody reads the answer."""


def header(scope: Scope, name: bytes) -> bytes:
    """Return the value of a request header (name in lower case), or ``b""``."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""


def media_type(scope: Scope) -> str:
    """Return `JSON` or `ARROW`; a body without a type counts as JSON.

    Raises:
        UnsupportedMedia: neither.
    """
    given = header(scope, b"content-type")
    if given == b"application/json" or not given:
        return JSON
    kind = given.split(b";", 1)[0].strip().lower().decode("latin-1")
    if kind in {JSON, ARROW}:
        return kind
    raise UnsupportedMedia(f"Content-Type {kind[:80]!r} is not read here: send {JSON} or {ARROW}.")


async def read_body(
    scope: Scope, receive: Receive, limit: int, take: Callable[[int], None] | None = None
) -> bytes:
    """Return the body.

    Args:
        limit: most bytes; what exceeds them is not read.
        take: told of the bytes as they come; see `Budget.share`.

    Raises:
        TooLarge: over the limit, by its declared length or by what has come so far.
        Disconnected: the client went away.
    """
    declared = header(scope, b"content-length")
    if declared and int(declared) > limit:  # the HTTP parser lets only digits through
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        return body
    received = bytearray()
    while message["type"] == "http.request":
        chunk = message.get("body", b"")
        if take is not None:
            take(len(chunk))
        received += chunk
        if len(received) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(received)
        message = await receive()
    raise Disconnected("The connection closed before the body was complete.")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit:,} bytes, the most that is taken.")


def decode_json(body: bytes) -> object:
    """Return the value. Raises `ClientError` (400) when it is not JSON, or nested too deeply."""
    try:
        return _decoder.decode(body)
    except RecursionError:
        raise ClientError("The JSON is nested too deeply.") from None
    except (msgspec.MsgspecError, ValueError, OverflowError) as exc:
        raise ClientError(f"The body is not JSON: {str(exc)[:200]}.") from None
