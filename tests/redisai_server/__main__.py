"""A stand-in for a RedisAI server: ``python -m redisai_server [--port N] [--password P]``.

Speaks RESP2 over TCP and executes ONNX models. Like the real one it takes one command at a time,
executes models on a thread of their own (so that others are answered meanwhile), and blocks while
it loads a model. Prints its port once it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor

import hiredis
from redisai_server.commands import Client, Context, Server, dispatch
from redisai_server.execution import Job
from redisai_server.resp import Failure, Reply, encode


class Connections:
    """Serves every connection; one execution thread, as THREADS_PER_QUEUE defaults to."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="execution")
        self._numbers = itertools.count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        context = Context(self._server, Client(next(self._numbers)))
        parser = hiredis.Reader()
        try:
            while data := await reader.read(1 << 20):
                parser.feed(data)
                while (args := parser.gets()) is not False:
                    writer.write(encode(await self._answer(context, args)))
                await writer.drain()
        except (ConnectionError, hiredis.ProtocolError):
            pass
        finally:
            writer.close()

    async def _answer(self, context: Context, args: list[bytes]) -> Reply:
        if not isinstance(args, list) or not args:
            return Failure("ERR Protocol error: expected an array of bulk strings")
        outcome = dispatch(context, args)
        if not isinstance(outcome, Job):
            return outcome
        loop = asyncio.get_running_loop()
        replies = await loop.run_in_executor(self._executor, outcome.run)
        return outcome.finish(replies, context.keys)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--password", default="")
    options = parser.parse_args()
    connections = Connections(Server(password=options.password))
    server = await asyncio.start_server(connections.serve, "127.0.0.1", options.port)
    port = server.sockets[0].getsockname()[1]
    print(port, flush=True)  # noqa: T201 - how whoever started it learns the port
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
