import asyncio
from contextlib import asynccontextmanager

import pytest

from aimq.errors import MlUnavailable, Overloaded, SettingsError, TimedOut
from aimq.ml_client import connection as connection_module
from aimq.ml_client import relay as relay_module
from aimq.ml_client.relay import MlRelay

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Served-By: onnxruntime\r\n\r\nhi"


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    return head + await reader.readexactly(length)


@asynccontextmanager
async def serving(handler):
    """Run a server whose `handler(connection number, reader, writer)` speaks for it."""
    connections = 0
    tasks = set()

    async def connected(reader, writer):
        nonlocal connections
        connections += 1
        tasks.add(asyncio.current_task())
        try:
            await handler(connections, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    relay = MlRelay(f"http://127.0.0.1:{port}/base/", "secret", 5.0, max_connections=2)
    try:
        yield relay
    finally:
        relay.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def always(answer):
    async def handler(_, reader, writer):
        while True:
            await read_request(reader)
            writer.write(answer)

    return handler


async def test_bytes_go_and_come_as_they_are_over_one_kept_connection():
    seen = []

    async def handler(number, reader, writer):
        while True:
            seen.append((number, await read_request(reader)))
            writer.write(OK)

    async with serving(handler) as relay:
        answers = [await relay.post(b"/predict", b"{}", ((b"a", b"b"),)) for _ in range(3)]

    assert [number for number, _ in seen] == [1, 1, 1]
    assert seen[0][1].startswith(b"POST /base/predict HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Authorization: Bearer secret\r\n" in seen[0][1]
    assert b"a: b\r\n" in seen[0][1]
    assert seen[0][1].endswith(b"\r\n\r\n{}")
    assert answers[0].status == 200
    assert answers[0].body == b"hi"
    assert (b"x-served-by", b"onnxruntime") in answers[0].headers


async def test_what_must_not_be_asked_twice_goes_over_a_new_connection_and_is_asked_once():
    seen = []

    async def handler(number, reader, writer):
        seen.append((number, (await read_request(reader)).split(b" ")[1]))
        if number == 1:
            writer.write(OK)
            seen.append((number, (await read_request(reader)).split(b" ")[1]))
            writer.write(OK)

    async with serving(handler) as relay:
        await relay.get(b"/kept")
        with pytest.raises(MlUnavailable):  # the server closes it without an answer
            await relay.post_once(b"/once", b"")
        await relay.get(b"/kept")

    assert seen == [(1, b"/base/kept"), (2, b"/base/once"), (1, b"/base/kept")]


async def test_an_error_answer_is_an_answer():
    busy = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    async with serving(always(busy)) as relay:
        answer = await relay.post(b"/", b"")

    assert (answer.status, answer.body) == (429, b"")
    assert (b"retry-after", b"7") in answer.headers


async def test_a_chunked_answer_is_put_together():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    async with serving(always(chunked)) as relay:
        assert (await relay.get(b"/")).body == b"abc"


async def test_an_interim_answer_is_passed_over():
    async with serving(always(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)) as relay:
        answer = await relay.post(b"/", b"{}")

    assert (answer.status, answer.body) == (200, b"hi")


async def test_a_stale_connection_is_replaced_and_the_request_sent_again():
    closed = asyncio.Event()

    async def handler(number, reader, writer):
        await read_request(reader)
        writer.write(OK)
        if number == 1:
            await read_request(reader)  # takes the next request, and goes without a word
            closed.set()
            return
        await read_request(reader)

    async with serving(handler) as relay:
        await relay.post(b"/", b"")
        answer = await relay.post(b"/", b"")

    assert closed.is_set()
    assert answer.body == b"hi"


async def test_a_fresh_connection_that_breaks_is_not_tried_again():
    tries = []

    async def handler(number, reader, writer):
        tries.append(number)
        await read_request(reader)

    async with serving(handler) as relay:
        with pytest.raises(MlUnavailable) as caught:
            await relay.post(b"/", b"")

    assert tries == [1]
    assert caught.value.retry_after is not None


async def test_an_answer_cut_in_the_middle_is_an_error():
    async def handler(number, reader, writer):
        await read_request(reader)
        writer.write(OK[:-1])

    async with serving(handler) as relay:
        with pytest.raises(MlUnavailable, match="broke off"):
            await relay.post(b"/", b"")


async def test_what_is_not_http_is_an_error():
    async with serving(always(b"hello\r\n\r\n")) as relay:
        with pytest.raises(MlUnavailable):
            await relay.post(b"/", b"")


async def test_an_answer_over_the_bound_is_refused(monkeypatch):
    monkeypatch.setattr(connection_module, "MAX_ANSWER", 1)
    async with serving(always(OK)) as relay:
        with pytest.raises(MlUnavailable):
            await relay.post(b"/", b"")


async def test_a_connection_that_the_server_closes_is_not_kept():
    numbers = []

    async def handler(number, reader, writer):
        numbers.append(number)
        await read_request(reader)
        writer.write(OK.replace(b"content", b"Connection: close\r\ncontent"))

    async with serving(handler) as relay:
        await relay.post(b"/", b"")
        await relay.post(b"/", b"")

    assert numbers == [1, 2]


async def test_no_answer_in_time_ends_the_wait_and_the_connection():
    gone = asyncio.Event()

    async def handler(number, reader, writer):
        await read_request(reader)
        await reader.read()  # until the other side closes
        gone.set()

    async with serving(handler) as relay:
        relay._timeout = 0.05
        with pytest.raises(TimedOut, match=r"0\.05 s"):
            await relay.post(b"/", b"")
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_cancelled_request_does_not_leave_its_answer_to_the_next():
    asked = asyncio.Event()

    async def handler(number, reader, writer):
        await read_request(reader)
        asked.set()
        if number == 1:
            await reader.read()
        writer.write(OK)

    async with serving(handler) as relay:
        task = asyncio.create_task(relay.post(b"/", b""))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await relay.post(b"/", b"")).body == b"hi"


async def test_a_request_cancelled_just_as_its_answer_comes_leaves_no_open_connection():
    closed = asyncio.Event()

    async def handler(number, reader, writer):
        await read_request(reader)
        writer.write(OK)
        assert await reader.read() == b""
        closed.set()

    async with serving(handler) as relay:
        task = asyncio.create_task(relay.post(b"/", b""))
        deliver = connection_module.MlConnection.on_message_complete

        def cancelled_with_its_answer(connection):
            deliver(connection)
            task.cancel()

        connection_module.MlConnection.on_message_complete = cancelled_with_its_answer
        try:
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            connection_module.MlConnection.on_message_complete = deliver
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_server_that_is_away_is_unavailable_with_a_time_to_come_back(unused_tcp_port):
    relay = MlRelay(f"http://127.0.0.1:{unused_tcp_port}", "", 5.0)

    with pytest.raises(MlUnavailable) as caught:
        await relay.post(b"/", b"")
    assert caught.value.retry_after == 1.0


async def test_more_requests_than_connections_wait_their_turn():
    most = open_ = 0

    async def handler(number, reader, writer):
        nonlocal most, open_
        while True:
            await read_request(reader)
            open_ += 1
            most = max(most, open_)
            await asyncio.sleep(0)
            open_ -= 1
            writer.write(OK)

    async with serving(handler) as relay:
        answers = await asyncio.gather(*(relay.post(b"/", b"") for _ in range(20)))

    assert [answer.body for answer in answers] == [b"hi"] * 20
    assert most <= 2


async def test_too_many_that_wait_are_refused(monkeypatch):
    monkeypatch.setattr(relay_module, "MAX_WAITING", 1)
    async with serving(always(OK)) as relay:
        outcomes = await asyncio.gather(
            *(relay.post(b"/", b"") for _ in range(4)), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes[:3]] == [connection_module.MlAnswer] * 3
    assert isinstance(outcomes[3], Overloaded)
    assert outcomes[3].retry_after


async def test_a_server_that_answers_twice_is_not_asked_again_over_that_connection():
    numbers = []

    async def handler(number, reader, writer):
        while True:
            await read_request(reader)
            numbers.append(number)
            writer.write(OK + OK)

    async with serving(handler) as relay:
        for _ in range(2):
            assert (await relay.post(b"/", b"")).body == b"hi"
    assert numbers == [1, 2]


@pytest.mark.parametrize("url", ["127.0.0.1:5001", "ftp://host", "http://"])
def test_an_address_that_is_none_is_refused_at_the_start(url):
    with pytest.raises(SettingsError, match="AIMQ_ML_URL"):
        MlRelay(url, "", 1.0)
