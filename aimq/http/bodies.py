"""Request bodies, read within bounds of size, time and depth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.types import Receive, Scope

from aimq.errors import ClientError, Disconnected, RequestTimedOut, TooLarge
from aimq.http.headers import header

#: Longest wait for a whole body, in seconds.
BODY_SECONDS: Final = 20.0
#: Lists and objects within each other, at most. A record needs two.
MAX_DEPTH: Final = 32

_decoder: Final = msgspec.json.Decoder()


async def read_body(
    scope: Scope,
    receive: Receive,
    limit: int,
    *,
    seconds: float = BODY_SECONDS,
    take: Callable[[int], None] | None = None,
) -> bytes:
    """Return the body.

    Args:
        limit: most bytes; what exceeds them is not read.
        seconds: longest wait for all of it.
        take: called with the size of each piece, before the next is read; may raise.

    Raises:
        TooLarge: over the limit, by its declared length or by what has come so far.
        RequestTimedOut: not complete in time.
        Disconnected: the client went away.
    """
    declared = header(scope, b"content-length")
    if declared and int(declared) > limit:  # the HTTP parser lets only digits through
        raise _too_large(limit)
    try:
        async with asyncio.timeout(seconds):
            return await _read(receive, limit, take)
    except TimeoutError:
        raise RequestTimedOut(f"The body did not come within {seconds:g} s.") from None


async def _read(receive: Receive, limit: int, take: Callable[[int], None] | None) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected("The connection closed before the body was complete.")
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        if take is not None:
            take(len(piece))
        pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit:,} bytes, the most that is taken.")


def decode_json(body: bytes) -> object:
    """Return the value of a JSON body.

    Raises:
        ClientError: not JSON, or more than `MAX_DEPTH` lists and objects within each other.
    """
    try:
        value = _decoder.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.MsgspecError, ValueError, OverflowError) as exc:
        raise ClientError(f"The body is not JSON: {str(exc)[:200]}.") from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:  # else it cannot be too deep
        _check_depth(value)
    return value


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise _too_deep()


def _children(value: object) -> list[object]:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in values if isinstance(child, dict | list)]


def _too_deep() -> ClientError:
    return ClientError(f"The JSON is nested too deeply: {MAX_DEPTH} levels are read.")
