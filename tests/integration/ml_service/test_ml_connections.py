"""Refusals, and requests in pieces or pipelined, leave the connection as good as before."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from benchmarks.service import ml_service


@pytest.fixture(scope="module")
def service(trained_models, tmp_path_factory):
    environ = {"AIMQ_RATE_LIMIT": "2/hour", "AIMQ_INTERNAL_TOKEN": "secret"}
    with ml_service(trained_models, tmp_path_factory.mktemp("front"), **environ) as service:
        for _ in range(2):
            httpx.post(f"{service.url}/predict/onnx", json={})
        yield service


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body


def post(body: bytes, more: str = "", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = f"POST /predict/onnx HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n{more}\r\n"
    return head.encode() + body


@pytest.fixture
async def connection(service):
    url = httpx.URL(service.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    yield reader, writer
    writer.close()
    await writer.wait_closed()


async def test_a_refusal_does_not_wait_for_the_body_and_the_connection_goes_on(connection, record):
    reader, writer = connection
    body = json.dumps(record).encode()
    writer.write(post(body[:10], length=len(body)))
    status, headers, told = await answer(reader)
    assert (status, json.loads(told)["status"]) == (429, 429)
    assert headers["content-type"] == "application/problem+json"
    assert {"date", "retry-after", "ratelimit-limit", "ratelimit-reset"} <= set(headers)
    writer.write(body[10:] + post(body, "Authorization: Bearer secret\r\n"))
    status, _, told = await answer(reader)
    assert status == 200
    assert json.loads(told)["predicted_price"] > 0


async def test_pipelined_requests_are_answered_in_their_order(connection, record):
    reader, writer = connection
    body = json.dumps(record).encode()
    ours = post(body, "Authorization: Bearer secret\r\n")
    writer.write(ours + post(body) + ours + post(body))
    assert [(await answer(reader))[0] for _ in range(4)] == [200, 429, 200, 429]


async def test_who_asks_to_close_is_refused_and_closed(connection, record):
    reader, writer = connection
    writer.write(post(json.dumps(record).encode(), "Connection: close\r\n"))
    assert (await answer(reader))[0] == 429
    assert await reader.read() == b""


async def test_refusals_are_counted(service, record):
    async with httpx.AsyncClient(base_url=service.url) as client:

        async def refused() -> float:
            name = 'aimq_ml_requests_total{route="/predict/onnx",status="429"} '
            lines = (await client.get("/metrics")).text.splitlines()
            return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

        before = await refused()
        for _ in range(3):
            assert (await client.post("/predict/onnx", json=record)).status_code == 429
        assert await refused() == before + 3
        assert "aimq_ml_under_way 0.0" in (await client.get("/metrics")).text


OURS = "Authorization: Bearer secret\r\n"


@pytest.mark.parametrize("at", [40, -60, -1], ids=["in the headers", "in the body", "at the end"])
async def test_a_record_that_comes_in_pieces_is_answered(service, connection, record, at):
    reader, writer = connection
    request = post(json.dumps(record).encode(), OURS)
    writer.write(request[:at])
    async with httpx.AsyncClient(base_url=service.url) as client:
        for _ in range(3):  # it has seen the first piece by then
            await client.get("/health/live")
    writer.write(request[at:])
    status, _, told = await answer(reader)
    assert status == 200
    assert json.loads(told)["predicted_price"] > 0


async def test_records_and_lists_pipelined_are_answered_in_their_order(connection, record):
    reader, writer = connection
    one, many = json.dumps(record).encode(), json.dumps([record, record]).encode()
    broken = b'{"mileage": '
    writer.write(b"".join(post(body, OURS) for body in (one, many, one, broken, many, one)))
    answers = [await answer(reader) for _ in range(6)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 400, 200, 200]
    value = json.loads(answers[0][2])
    told = [json.loads(body) for status, _, body in answers if status == 200]
    assert told == [value, [value, value], value, [value, value], value]


async def test_what_is_cut_off_or_broken_while_it_is_read_no_longer_counts(service, record):
    url = httpx.URL(service.url)
    body = json.dumps(record).encode()
    chunked = b"POST /predict/onnx HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    for request in (
        post(body[:10], OURS, length=len(body)),
        chunked + OURS.encode() + b"\r\nno number\r\n",
    ):
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(request)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    async with httpx.AsyncClient(base_url=service.url) as client:
        async with asyncio.timeout(10):
            while "aimq_ml_under_way 0.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0)


async def test_nobody_is_believed_whose_client_it_is_unless_the_settings_name_it(
    service, trained_models, tmp_path, record
):
    other = {"X-Forwarded-For": "10.0.0.8"}
    assert httpx.post(f"{service.url}/predict/onnx", json=record, headers=other).status_code == 429
    environ = {"AIMQ_RATE_LIMIT": "1/hour", "AIMQ_TRUSTED_PROXIES": "127.0.0.1"}
    with ml_service(trained_models, tmp_path, **environ) as behind_a_proxy:
        for client in ("10.0.0.8", "10.0.0.9"):
            headers = {"X-Forwarded-For": client}
            url = f"{behind_a_proxy.url}/predict/onnx"
            statuses = [httpx.post(url, json=record, headers=headers).status_code for _ in range(2)]
            assert statuses == [200, 429]
