"""The asynchronous study's clients see what a service says, however it is cut up."""

import asyncio
import json

from websockets.asyncio.server import serve

from benchmarks.async_study.clients import ask, get
from benchmarks.async_study.watchers import watch


async def test_answers_are_read_whole_and_errors_counted():
    requests = iter(range(10))

    async def answer(reader, writer):
        while await reader.readuntil(b"\r\n\r\n"):
            turn = next(requests)
            if turn == 3:
                break
            status = b"503 No" if turn == 2 else b"202 Accepted"
            for part in (b"HTTP/1.1 " + status + b"\r\nContent-", b"Length: 4\r\n\r\n4", b"444"):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        answers = await asyncio.to_thread(ask, url, [get(url, "/")] * 4, 1)

    assert answers.bodies == [b"4444", b"4444"]
    assert len(answers.latencies) == 2
    assert (answers.errors, answers.timeouts) == (2, 0)


async def test_watchers_find_the_final_status_among_their_messages():
    async def tell(socket):
        for status in ("queued", "processing", "done"):
            await socket.send(json.dumps({"status": status}))

    async with serve(tell, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        seen = await watch(f"http://127.0.0.1:{port}", ["/results/1/events"] * 3)

    assert [each.final_message()[1] for each in seen] == [3, 3, 3]
