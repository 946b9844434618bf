"""Connections to RedisAI: whatever a server sends, no command gets the reply to another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import redis
import redis.asyncio
from redisai_server.settling import callbacks_done

from ml_service.runtimes.redisai_connections import Connections


class Server:
    """Answers the numbers of the commands, in whatever way `answer` writes them.

    Attributes:
        closed: how many connections have ended.
    """

    def __init__(self, answer: Callable[[asyncio.StreamWriter, int], None]) -> None:
        self._answer = answer
        self._asked = 0
        self._ended = asyncio.Semaphore(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            self._asked += 1
            self._answer(writer, self._asked)
        writer.close()
        self._ended.release()

    async def connection_ended(self) -> None:
        await asyncio.wait_for(self._ended.acquire(), 10)


@pytest.fixture
async def connect():
    """Return a function that starts a server and returns it and connections to it."""
    started = []

    async def _connect(answer: Callable[[asyncio.StreamWriter, int], None]):
        server = Server(answer)
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        pool = redis.asyncio.ConnectionPool(host="127.0.0.1", port=port)
        connections = Connections(pool.make_connection, limit=2, timeout=5)
        started.append((listener, connections))
        return server, connections

    yield _connect
    for listener, connections in started:
        connections.disconnect()
        listener.close()
        await listener.wait_closed()
    await callbacks_done()


async def test_commands_that_follow_each_other_take_one_connection(connect):
    _, connections = await connect(lambda writer, number: writer.write(b":%d\r\n" % number))
    assert [await connections.ask(["ANY", 1]) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert len(connections._idle) == 1


async def test_a_second_reply_to_one_command_is_not_taken_for_that_of_the_next(connect):
    _, connections = await connect(lambda writer, number: writer.write(b":%d\r\n" % number * 2))
    assert [await connections.ask(["ANY"]) for _ in range(5)] == [1, 2, 3, 4, 5]


async def test_a_reply_that_nobody_waits_for_ends_the_connection(connect):
    writers = []

    def answer(writer: asyncio.StreamWriter, number: int) -> None:
        writers.append(writer)
        writer.write(b":%d\r\n" % number)

    server, connections = await connect(answer)
    assert await connections.ask(["ANY"]) == 1
    writers[0].write(b":99\r\n")
    await server.connection_ended()
    assert await connections.ask(["ANY"]) == 2


async def test_a_reply_may_come_in_pieces(connect):
    text = b"x" * 100_000

    def answer(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"*2\r\n:%d\r\n$100000\r\n" % number + text[:10])
        asyncio.get_running_loop().call_later(0.01, writer.write, text[10:] + b"\r\n")

    _, connections = await connect(answer)
    assert [await connections.ask(["ANY"]) for _ in range(2)] == [[1, text], [2, text]]


async def test_an_error_leaves_the_connection_in_use(connect):
    _, connections = await connect(lambda writer, number: writer.write(b"-ERR no %d\r\n" % number))
    for number in (1, 2):
        with pytest.raises(redis.ResponseError, match=f"^no {number}$"):
            await connections.ask(["ANY"])
    assert len(connections._idle) == 1


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", redis.exceptions.InvalidResponse),
        (b"-LOADING still\r\n", redis.BusyLoadingError),
        (b"-NOAUTH who\r\n", redis.AuthenticationError),
    ],
)
async def test_after_what_is_no_answer_the_connection_is_not_used_again(connect, said, error):
    server, connections = await connect(lambda writer, _: writer.write(said))
    with pytest.raises(error):
        await connections.ask(["ANY"])
    await server.connection_ended()
    assert connections._idle == []


async def test_a_cancelled_command_takes_its_connection_with_it(connect):
    asked = asyncio.Event()

    def answer(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            asked.set()
        else:
            writer.write(b":%d\r\n" % number)

    server, connections = await connect(answer)
    task = asyncio.create_task(connections.ask(["ANY"]))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.connection_ended()
    assert await connections.ask(["ANY"]) == 2


async def test_closing_leaves_nothing_open(connect):
    server, connections = await connect(lambda writer, number: writer.write(b":%d\r\n" % number))
    await connections.ask(["ANY"])
    connections.disconnect()
    connections.disconnect()
    await server.connection_ended()
