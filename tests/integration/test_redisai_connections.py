"""Connections to RedisAI: whatever a server sends, no command gets the reply to another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from redisai_server.settling import callbacks_done

from aimq.errors import MlUnavailable, ModelRefused
from aimq.settings import Settings
from ml_service.runtimes.redisai.runtime import RedisAiRuntime


class Server:
    """Answers the numbers of the commands, in whatever way `answer` writes them.

    Attributes:
        connections: how many connections it has taken.
    """

    def __init__(self, answer: Callable[[asyncio.StreamWriter, int], None]) -> None:
        self._answer = answer
        self._asked = 0
        self.connections = 0
        self._ended = asyncio.Semaphore(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while await reader.read(1 << 16):
            self._asked += 1
            self._answer(writer, self._asked)
        writer.close()
        self._ended.release()

    async def connection_ended(self) -> None:
        await asyncio.wait_for(self._ended.acquire(), 10)


@pytest.fixture
async def connect():
    """Return a function that starts a server and returns it and a runtime on it."""
    started = []

    async def _connect(answer: Callable[[asyncio.StreamWriter, int], None]):
        server = Server(answer)
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        runtime = RedisAiRuntime(
            Settings(redisai_url=f"redis://127.0.0.1:{port}/0", redisai_timeout_seconds=5)
        )
        started.append((listener, runtime))
        return server, runtime

    yield _connect
    for listener, runtime in started:
        runtime.close()
        listener.close()
        await listener.wait_closed()
    await callbacks_done()


async def test_commands_that_follow_each_other_take_one_connection(connect):
    server, runtime = await connect(lambda writer, number: writer.write(b":%d\r\n" % number))
    assert [await runtime.execute_async(["ANY", 1]) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert server.connections == 1


async def test_a_second_reply_to_one_command_is_not_taken_for_that_of_the_next(connect):
    _, runtime = await connect(lambda writer, number: writer.write(b":%d\r\n" % number * 2))
    assert [await runtime.execute_async(["ANY"]) for _ in range(5)] == [1, 2, 3, 4, 5]


async def test_a_reply_that_nobody_waits_for_ends_the_connection(connect):
    writers = []

    def answer(writer: asyncio.StreamWriter, number: int) -> None:
        writers.append(writer)
        writer.write(b":%d\r\n" % number)

    server, runtime = await connect(answer)
    assert await runtime.execute_async(["ANY"]) == 1
    writers[0].write(b":99\r\n")
    await callbacks_done()  # it has arrived
    assert await runtime.execute_async(["ANY"]) == 2
    await server.connection_ended()


async def test_a_reply_may_come_in_pieces(connect):
    text = b"x" * 100_000

    def answer(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(b"*2\r\n:%d\r\n$100000\r\n" % number + text[:10])
        asyncio.get_running_loop().call_later(0.01, writer.write, text[10:] + b"\r\n")

    _, runtime = await connect(answer)
    assert [await runtime.execute_async(["ANY"]) for _ in range(2)] == [[1, text], [2, text]]


async def test_an_error_leaves_the_connection_in_use(connect):
    server, runtime = await connect(lambda writer, number: writer.write(b"-ERR no %d\r\n" % number))
    for number in (1, 2):
        with pytest.raises(ModelRefused, match=f"no {number}$"):
            await runtime.execute_async(["ANY"])
    assert server.connections == 1


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n", b"-LOADING still\r\n", b"-NOAUTH who\r\n"]
)
async def test_after_what_is_no_answer_the_connection_is_not_used_again(connect, said):
    server, runtime = await connect(lambda writer, _: writer.write(said))
    with pytest.raises(MlUnavailable):
        await runtime.execute_async(["ANY"])
    await server.connection_ended()


async def test_a_cancelled_command_takes_its_connection_with_it(connect):
    asked = asyncio.Event()

    def answer(writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            asked.set()
        else:
            writer.write(b":%d\r\n" % number)

    server, runtime = await connect(answer)
    task = asyncio.create_task(runtime.execute_async(["ANY"]))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.connection_ended()
    assert await runtime.execute_async(["ANY"]) == 2


async def test_closing_leaves_nothing_open(connect):
    server, runtime = await connect(lambda writer, number: writer.write(b":%d\r\n" % number))
    await runtime.execute_async(["ANY"])
    runtime.close()
    runtime.close()
    await server.connection_ended()
