import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

from aimq.schema import load_schema
from tests.ml_stand_in import SCHEMA_FILE, MlStandIn, ml_stand_in
from tests.servers.redis import RedisServer
from tests.services import Services
from tests.system import System, environment, running

#: Long enough to see what is asked for, short enough to wait for.
QUICK = {
    "AIMQ_CONCURRENCY": "2",
    "AIMQ_LEASE_SECONDS": "2",
    "AIMQ_RETRY_BASE_SECONDS": "0.2",
    "AIMQ_RETRY_MAX_SECONDS": "1",
}


@pytest.fixture(scope="session")
def system(trained_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """`aimq up` on the embedded default, with small models."""
    data = tmp_path_factory.mktemp("data with a space")
    with running(environment(data, trained_models)) as system:
        yield system


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("embedded", id="embedded"),
        pytest.param(
            "servers", id="rabbitmq-redis", marks=[pytest.mark.rabbitmq, pytest.mark.redis]
        ),
    ],
)
def adapters(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings of either pair of adapters; the servers have room of the module's own."""
    if request.param == "embedded":
        yield {}
        return
    request.getfixturevalue("redis_server")  # skips where there is none
    rabbit = request.getfixturevalue("rabbitmq_server")
    with RedisServer() as redis:
        vhost = rabbit.new_vhost()
        yield {"AIMQ_BROKER_URL": vhost, "AIMQ_STORE_URL": redis.url}


@pytest.fixture(scope="session")
def workbook() -> Callable[[int], bytes]:
    """Return a function that makes workbooks of so many valid rows."""
    schema = load_schema(SCHEMA_FILE)
    first = {schema.group: "A"}
    for f in schema.features:
        words = f.by_group.get("A", f.categories)
        first[f.name] = float(max(f.minimum, 2)) if f.numeric else words[0]

    def make(count: int) -> bytes:
        frame = pd.DataFrame([first] * count)
        frame["kilometers"] = [float(1 + n) for n in range(count)]
        buffer = io.BytesIO()
        frame.to_excel(buffer, index=False)
        return buffer.getvalue()

    return make


@pytest.fixture
def ml() -> Iterator[MlStandIn]:
    """An ML service with faults on demand."""
    with ml_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def make_services(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., Services]]:
    """Return a function that makes services on "embedded" adapters or on "servers".

    On servers they have a vhost of the session's RabbitMQ, and a Redis, of their own.
    """
    with ExitStack() as stack:

        def make(on: str, ml_url: str, **more: str) -> Services:
            rabbit, redis = None, None
            if on == "servers":
                request.getfixturevalue("redis_server")  # skips where there is none
                rabbit = request.getfixturevalue("rabbitmq_server")
                redis = stack.enter_context(RedisServer())
                more = {
                    "AIMQ_BROKER_URL": rabbit.new_vhost(),
                    "AIMQ_STORE_URL": redis.url,
                } | more
            folder = tmp_path / "services"
            return stack.enter_context(Services(folder, ml_url, rabbit, redis, **(QUICK | more)))

        yield make


@pytest.fixture(
    params=[
        pytest.param("embedded", id="embedded"),
        pytest.param(
            "servers", id="rabbitmq-redis", marks=[pytest.mark.rabbitmq, pytest.mark.redis]
        ),
    ]
)
def services(
    request: pytest.FixtureRequest, make_services: Callable[..., Services], ml: MlStandIn
) -> Services:
    """Services of either kind, none of them started; the ML service is a stand-in."""
    return make_services(request.param, ml.url)
