"""What raw sockets do to the server of both HTTP services: half requests, many, odd upgrades."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, nullcontext

import pytest

from aimq.errors import AimqError
from aimq.http import problems
from aimq.http.bodies import read_body
from aimq.http.connections import Connections
from aimq.http.serve import make_server
from aimq.settings import Settings
from tests.clock import Clock

NEVER = 3600.0


async def application(scope, receive, send):
    """Answer the body; reject WebSockets with 400 after taking them, and refuse ``/refused``."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        return
    status, answer = 200, b"refused"
    if scope["path"] != "/refused":
        seconds = 0.0 if scope["path"] == "/impatient" else 60.0
        try:
            answer = b"got " + await read_body(scope, receive, 1000, seconds=seconds)
        except AimqError as exc:
            await problems.response(exc)(scope, receive, send)
            return
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def serving(idle_seconds=NEVER, **settings):
    """Run a server in this loop; yields it, with its port."""
    server = make_server(application, Settings(**settings), idle_seconds)
    server.config.lifespan = "off"
    server.capture_signals = nullcontext  # the test tool's process keeps its own
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        task = asyncio.create_task(server.serve([sock]))
        while not server.started:
            await asyncio.sleep(0)
        try:
            server.port = sock.getsockname()[1]
            yield server
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def connected(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await asyncio.wait([asyncio.create_task(writer.wait_closed())])


async def ended(reader):
    """Wait for the end of a connection, and return what came before."""
    async with asyncio.timeout(30):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


async def answer(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    return (
        int(head[0].split()[1]),
        headers,
        await reader.readexactly(int(headers["content-length"])),
    )


def post(body=b"", path="/", length=None, more=""):
    size = len(body) if length is None else length
    return (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n{more}\r\n".encode() + body
    )


HALVES = {
    "nothing": b"",
    "half a request line": b"POS",
    "half the headers": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Le",
    "half a body that was refused": post(b"ab", "/refused", length=10),
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
async def test_connections_that_do_not_come_to_a_request_are_closed(half):
    async with serving(idle_seconds=0.0) as server, connected(server) as (reader, writer):
        writer.write(half)
        await ended(reader)


@pytest.mark.parametrize("trusted", ["", "127.0.0.1"], ids=["direct", "proxied"])
async def test_a_request_that_is_worked_on_keeps_its_connection(trusted):
    async with serving(trusted_proxies=trusted) as server, connected(server) as (reader, writer):
        connections = server.config.app
        connections._clock = Clock()
        writer.write(post(b"a", length=2, more="X-Forwarded-For: 10.0.0.1\r\n"))
        while connections._idle or not connections._open:
            await asyncio.sleep(0)
        connections._clock.now += 2 * NEVER
        connections.close_idle()
        writer.write(b"b")
        assert (await answer(reader))[2] == b"got ab"
        while not connections._idle:
            await asyncio.sleep(0)
        connections._clock.now += 2 * NEVER
        assert await ended(reader) == b""


async def test_a_body_that_does_not_come_in_time_is_answered_and_its_connection_closed():
    async with serving() as server, connected(server) as (reader, writer):
        writer.write(post(b"a", "/impatient", length=2))
        status, headers, body = await answer(reader)
        assert (status, json.loads(body)["status"]) == (408, 408)
        assert headers["connection"] == "close"
        assert await ended(reader) == b""


async def test_pipelined_requests_are_answered_in_their_order_and_the_connection_stays():
    async with serving() as server, connected(server) as (reader, writer):
        writer.write(post(b"a") + post(b"b", "/refused") + post(b"c"))
        assert [(await answer(reader))[2] for _ in range(3)] == [b"got a", b"refused", b"got c"]
        writer.write(post(b"d"))
        assert (await answer(reader))[2] == b"got d"


UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        post(b"{}", more=UPGRADE),
        f"GET / HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n".encode(),
        f"GET / HTTP/1.1\r\nHost: a\r\n{UPGRADE}Sec-WebSocket-Key: x\r\n\r\n".encode(),
    ],
    ids=["POST", "no key", "no version"],
)
async def test_an_odd_upgrade_is_answered(request_):
    async with serving() as server, connected(server) as (reader, writer):
        writer.write(request_)
        status = int((await ended(reader)).split()[1])
        assert 400 <= status < 500


async def test_every_answer_forbids_sniffing():
    async with serving() as server, connected(server) as (reader, writer):
        writer.write(post(b"a"))
        assert (await answer(reader))[1]["x-content-type-options"] == "nosniff"


class Transport:
    """A connection's, as far as it is looked at."""

    def __init__(self, port):
        self._peer = ("10.0.0.1", port)
        self.aborted = False

    def get_extra_info(self, name):
        return self._peer

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


async def test_beyond_the_most_connections_the_longest_idle_gives_way():
    started, release = asyncio.Event(), asyncio.Event()

    async def busy(scope, receive, send):
        started.set()
        await release.wait()

    connections = Connections(busy, most=2)
    first, second, third, fourth = (Transport(port) for port in range(4))
    connections.opened(first)
    connections.opened(second)
    request = {"type": "http", "client": ("10.0.0.1", 0)}
    task = asyncio.create_task(connections(request, None, None))
    await started.wait()
    connections.opened(third)
    assert (first.aborted, second.aborted, third.aborted) == (False, True, False)
    connections.lost(second)
    release.set()
    await task
    connections.opened(fourth)
    assert (first.aborted, third.aborted, fourth.aborted) == (False, True, False)
