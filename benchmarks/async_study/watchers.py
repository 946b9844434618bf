"""WebSockets that note when bytes arrive, and read them only afterwards.

The clients share the machine with what they measure: decoding a message while others wait to be
received would be timed as the service's.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Final, cast
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

#: A server's close frame with status 1000, which ends every watch.
_CLOSE: Final = b"\x88\x02\x03\xe8"
#: The client's answer to it, masked with zeros.
_CLOSE_REPLY: Final = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
_FINAL: Final = frozenset({"done", "failed"})
_PATIENCE: Final = 120.0


class Watcher(asyncio.Protocol):
    """One WebSocket, from the handshake to the server's close."""

    def __init__(self, url: str, ended: asyncio.Future[None]) -> None:
        self._protocol = ClientProtocol(parse_uri(url))
        self._chunks: list[tuple[float, bytes]] = []
        self._ended = ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self._transport = cast("asyncio.Transport", transport)
        self._protocol.send_request(self._protocol.connect())
        self._transport.write(b"".join(self._protocol.data_to_send()))

    def data_received(self, data: bytes) -> None:
        """Note the time of day, and nothing else."""
        self._chunks.append((time.time(), data))
        if data.endswith(_CLOSE):
            self._transport.write(_CLOSE_REPLY)

    def connection_lost(self, _: Exception | None) -> None:
        """The watch is over."""
        if not self._ended.done():
            self._ended.set_result(None)

    def final_message(self) -> tuple[float, int]:
        """Return the time of day at which the final status was there, and the messages until then.

        Raises:
            RuntimeError: the handshake failed, or the WebSocket ended without a final status.
        """
        messages = 0
        for seen, data in self._chunks:
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    messages += 1
                    if json.loads(event.data)["status"] in _FINAL:
                        return seen, messages
        raise RuntimeError(
            f"a WebSocket ended without a final status: {self._protocol.handshake_exc}"
        )


async def watch(url: str, paths: Sequence[str]) -> list[Watcher]:
    """Watch every path over a WebSocket of its own, until the server has closed all of them."""
    loop = asyncio.get_running_loop()
    address = urlsplit(url)

    async def one(path: str) -> Watcher:
        ended = loop.create_future()
        _, watcher = await loop.create_connection(
            lambda: Watcher(f"ws://{address.netloc}{path}", ended), address.hostname, address.port
        )
        await asyncio.wait_for(ended, _PATIENCE)
        return watcher

    return await asyncio.gather(*(one(path) for path in paths))
