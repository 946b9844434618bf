"""Fixtures: one private RabbitMQ, Redis and S3 server a session, started when first asked for.

Without the programs of the first two their tests are skipped with the reason; with
``AIMQ_REQUIRE_SERVICES=1`` that is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.servers.process import Missing
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

Server = TypeVar("Server", RabbitServer, RedisServer)


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitServer]:
    """The session's RabbitMQ; a module whose tests stop it overrides it with one of its own."""
    with private(RabbitServer) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_url(rabbitmq_server: RabbitServer) -> str:
    """Address of the session's RabbitMQ; tests share its queues."""
    return rabbitmq_server.url


@pytest.fixture(scope="module")
def rabbitmq_vhost(rabbitmq_server: RabbitServer) -> str:
    """Address of a vhost of the module's own: queues of other settings are not in its way.

    It goes with its server: deleting its queues one by one takes longer than many a test.
    """
    return rabbitmq_server.new_vhost()


@pytest.fixture(scope="session")
def rabbitmq_4_url() -> Iterator[str]:
    """Address of a RabbitMQ 4.x that ``AIMQ_TEST_RABBITMQ_4`` names: its address or its program."""
    named = os.environ["AIMQ_TEST_RABBITMQ_4"]
    if named.startswith(("amqp://", "amqps://")):
        yield named
        return
    with RabbitServer(installed=Path(named)) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The session's Redis, for tests that stop it: they must start it again."""
    with private(RedisServer) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """Address of the session's Redis; tests share its keys."""
    return redis_server.url


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """Address of the session's S3 server; tests make buckets of their own."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - slow to import

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_access(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the environment say, as S3 clients expect it, where the server is and who asks."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def private(make: Callable[[], Server]) -> Server:
    """Return a server that is not started yet; without its program the test is skipped."""
    try:
        return make()
    except Missing as exc:
        if os.environ.get("AIMQ_REQUIRE_SERVICES") == "1":
            pytest.fail(str(exc))
        pytest.skip(str(exc))
