"""The first phase of a stop."""

import signal

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from aimq.http.drain import Drain, DrainingServer


async def answer(_):
    return PlainTextResponse("yes")


@pytest.fixture
def drain():
    return Drain(Starlette(routes=[Route("/health/ready", answer), Route("/", answer)]))


@pytest.fixture
def client(drain):
    return httpx.AsyncClient(transport=httpx.ASGITransport(drain), base_url="http://x")


async def test_readiness_is_withdrawn_and_requests_are_still_answered(drain, client):
    before = await client.get("/health/ready")
    assert (before.status_code, before.headers.get("connection")) == (200, None)
    drain.begin()
    ready, other = await client.get("/health/ready"), await client.get("/")
    assert ready.status_code == 503
    assert ready.json()["problems"] == {"process": "This process is stopping."}
    assert (other.status_code, other.text) == (200, "yes")
    assert ready.headers["connection"] == other.headers["connection"] == "close"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def server(drain, seconds, clock, *, started=True):
    made = DrainingServer(uvicorn.Config(drain), drain, seconds, clock)
    made.started = started
    return made


async def test_sigterm_stops_the_server_when_the_time_to_drain_is_over(drain, client):
    clock = Clock()
    draining = server(drain, 5.0, clock)
    draining.handle_exit(signal.SIGTERM, None)
    assert (await client.get("/health/ready")).status_code == 503
    clock.now = 4.9
    assert await draining.on_tick(1) is False
    clock.now = 5.0
    assert await draining.on_tick(1) is True


@pytest.mark.parametrize(
    ("signals", "seconds", "started"),
    [
        ([signal.SIGINT], 5.0, True),
        ([signal.SIGTERM, signal.SIGTERM], 5.0, True),
        ([signal.SIGTERM, signal.SIGINT], 5.0, True),
        ([signal.SIGTERM], 0.0, True),
        ([signal.SIGTERM], 5.0, False),
    ],
)
async def test_it_stops_at_once_otherwise(drain, signals, seconds, started):
    stopping = server(drain, seconds, Clock(), started=started)
    for number in signals:
        stopping.handle_exit(number, None)
    assert stopping.should_exit
