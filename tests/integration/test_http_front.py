"""What a desk answers, at once or later, keeps to its place on the connection."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, nullcontext

import pytest
import uvicorn

from aimq.http.drain import Drain
from aimq.http.front import MOST_BYTES, Front, written


class Later:
    """A desk that answers when it is told to; refuses ``x-refuse``, leaves ``framework``."""

    def __init__(self) -> None:
        self.taken = asyncio.Queue()

    def refusal(self, scope):
        refused = any(name == b"x-refuse" for name, _ in scope["headers"])
        return written(429, [], b"refused") if refused else None

    def is_open(self):
        return True

    def take(self, scope, body, respond):
        if body == b"framework":
            return False
        self.taken.put_nowait((body, lambda: respond(written(200, [], b"desk: " + body))))
        return True


async def application(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer = b"app: %d" % len(body) if len(body) > 99 else b"app: " + body
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


class Running:
    """A server in this loop."""

    def __init__(self) -> None:
        self.desk = Later()
        self.drain = Drain(application)
        protocol = Front({"/desk": self.desk}).protocol(self.drain)
        self.server = uvicorn.Server(
            uvicorn.Config(self.drain, http=protocol, log_config=None, lifespan="off")
        )
        self.server.capture_signals = nullcontext  # the test tool's process keeps its own

    @asynccontextmanager
    async def serving(self):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            self.port = sock.getsockname()[1]
            self.task = asyncio.create_task(self.server.serve([sock]))
            while not self.server.started:
                await asyncio.sleep(0)
            try:
                yield self
            finally:
                self.server.should_exit = True
                await self.task

    @asynccontextmanager
    async def connected(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()


@pytest.fixture
async def running():
    async with Running().serving() as running:
        yield running


def post(body, more="", path="/desk"):
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


CHUNKED = b"POST /desk HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"


async def answer(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body


async def test_what_is_pipelined_behind_a_request_at_the_desk_waits_for_it(running):
    async with running.connected() as (reader, writer):
        refused = post(b"c", "X-Refuse: 1\r\n")
        writer.write(post(b"a") + post(b"b", path="/other") + refused + post(b"framework"))
        body, respond = await running.desk.taken.get()
        assert body == b"a"
        assert running.desk.taken.empty()
        respond()
        told = [(await answer(reader))[2] for _ in range(4)]
        assert told == [b"desk: a", b"app: b", b"app: c", b"app: framework"]
        writer.write(refused + post(b"d"))
        _, respond = await running.desk.taken.get()
        respond()
        assert [(await answer(reader))[0] for _ in range(2)] == [429, 200]


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (post(b"x" * (MOST_BYTES + 1)), b"app: %d" % (MOST_BYTES + 1)),
        (post(b"a", path="/desk?b"), b"app: a"),
        (post(b"a", "X-Forwarded-For: 10.0.0.1\r\n"), b"app: a"),
        (CHUNKED, b"app: a"),
        (b"PUT /desk HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na", b"app: a"),
    ],
    ids=["large", "query", "proxied", "chunked", "another method"],
)
async def test_what_is_not_plain_goes_to_the_application(running, request_, told):
    async with running.connected() as (reader, writer):
        writer.write(request_)
        assert (await answer(reader))[2] == told
        assert running.desk.taken.empty()


@pytest.mark.parametrize("more", ["Connection: close\r\n", "Expect: 100-continue\r\n"])
async def test_who_wants_to_close_or_to_be_asked_goes_to_the_application(running, more):
    async with running.connected() as (reader, writer):
        writer.write(post(b"a", more))
        if "100" in more:
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await answer(reader))[2] == b"app: a"


async def test_a_client_that_left_is_not_answered_and_harms_nobody(running):
    async with running.connected() as (_, writer):
        writer.write(post(b"a"))
        _, respond = await running.desk.taken.get()
    while running.server.server_state.connections:
        await asyncio.sleep(0)
    respond()
    async with running.connected() as (reader, writer):
        writer.write(post(b"framework"))
        assert (await answer(reader))[2] == b"app: framework"


async def test_a_stop_waits_for_what_is_at_the_desk_and_closes_its_connection(running):
    async with running.connected() as (reader, writer):
        writer.write(post(b"a"))
        _, respond = await running.desk.taken.get()
        running.server.should_exit = True
        cycle = next(iter(running.server.server_state.connections)).cycle
        while cycle.keep_alive:
            await asyncio.sleep(0)
        assert not running.task.done()
        respond()
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"]) == (200, "close")
        assert await reader.read() == b""
        await asyncio.wait_for(asyncio.shield(running.task), 10)


async def test_draining_every_answer_asks_to_close(running):
    running.drain.begin()
    async with running.connected() as (reader, writer):
        writer.write(post(b"a"))
        _, headers, told = await answer(reader)
        assert (headers["connection"], told) == ("close", b"app: a")


async def test_answers_carry_the_servers_date(running):
    async with running.connected() as (reader, writer):
        writer.write(post(b"a"))
        (_, respond) = await running.desk.taken.get()
        respond()
        _, headers, _ = await answer(reader)
        writer.write(post(b"a", path="/other"))
        assert headers.keys() == (await answer(reader))[1].keys()
