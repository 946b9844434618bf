"""A load balancer as a Kubernetes Service is one: connections go to replicas that are ready.

It never looks into a connection, and repeats nothing: a replica that stops listening while it is
still thought ready costs its clients their requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Sequence
from typing import Self

#: Time between two looks at a replica's readiness, and longest wait for one, in seconds.
_LOOK_SECONDS = 0.1
_PROBE_SECONDS = 2.0
_CHUNK = 64 * 1024


class Balancer:
    """Listens on a free loopback port, from a thread of its own. A context manager.

    Args:
        replicas: loopback ports of the first replicas.
    """

    def __init__(self, replicas: Sequence[int]) -> None:
        self._first = list(replicas)
        self._watching: dict[int, asyncio.Task[None]] = {}
        self._ready: set[int] = set()
        self._turn = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="balancer", daemon=True)
        self.port = 0
        #: Connections for which there was no replica, or one that refused them.
        self.turned_away = 0

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(10), "the balancer did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def add(self, port: int) -> None:
        """Take up a replica; it gets connections once it is ready. From any thread."""
        self._loop.call_soon_threadsafe(self._add, port)

    def remove(self, port: int) -> None:
        """Forget a replica that has ended. From any thread."""
        self._loop.call_soon_threadsafe(self._remove, port)

    def _add(self, port: int) -> None:
        self._watching[port] = self._loop.create_task(self._watch(port))

    def _remove(self, port: int) -> None:
        self._watching.pop(port).cancel()
        self._ready.discard(port)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        for port in self._first:
            self._add(port)
        self._listening.set()
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _watch(self, port: int) -> None:
        while True:
            if await self._is_ready(port):
                self._ready.add(port)
            else:
                self._ready.discard(port)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _is_ready(self, port: int) -> bool:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_PROBE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                with contextlib.closing(writer):
                    writer.write(
                        b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                    )
                    return b" 200 " in await reader.readline()
        return False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            replica = await self._connect()
            if replica is None:
                self.turned_away += 1
                return
            with contextlib.closing(replica[1]):
                await asyncio.gather(_copy(reader, replica[1]), _copy(replica[0], writer))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Return a connection to a ready replica; they take turns."""
        ready = [port for port in self._watching if port in self._ready]
        if not ready:
            return None
        try:
            return await asyncio.open_connection("127.0.0.1", ready[next(self._turn) % len(ready)])
        except OSError:
            return None


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass bytes on until the source ends; the target then learns of the end."""
    with contextlib.suppress(OSError):
        while chunk := await source.read(_CHUNK):
            target.write(chunk)
            await target.drain()
    target.close()
