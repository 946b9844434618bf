"""Clients are limited one by one; replicas that share a Redis share the limits."""

from __future__ import annotations

import pytest

from aimq.errors import RateLimited, SettingsError
from aimq.settings import Settings
from ml_service.rate_limit import RateLimit, connect_storage
from tests.clock import Clock


@pytest.fixture
def clock():
    return Clock()


def let_in(rate: RateLimit, client: str, times: int) -> int:
    taken = 0
    for _ in range(times):
        try:
            rate.take(client)
        except RateLimited:
            continue
        taken += 1
    return taken


@pytest.mark.parametrize("limit", [1, 7, 200])
def test_a_client_gets_its_limit_and_not_one_more(limit):
    assert let_in(RateLimit(f"{limit}/hour"), "10.0.0.1", 3 * limit) == limit


def test_clients_do_not_use_up_each_others_limits():
    rate = RateLimit("10/hour")
    assert [let_in(rate, f"10.0.0.{n}", 20) for n in range(5)] == [10] * 5


def test_a_refusal_says_when_to_try_again(clock):
    rate = RateLimit("1/hour", clock=clock)
    rate.take("10.0.0.1")
    clock.now += 600
    with pytest.raises(RateLimited, match="1 requests in 3600 s") as refusal:
        rate.take("10.0.0.1")
    assert refusal.value.retry_after == pytest.approx(3000)


def test_a_client_is_let_in_again_once_its_window_has_passed(clock):
    rate = RateLimit("5/hour", clock=clock)
    assert let_in(rate, "10.0.0.1", 9) == 5
    clock.now += 3599
    assert let_in(rate, "10.0.0.1", 9) == 0
    clock.now += 2
    assert let_in(rate, "10.0.0.1", 9) == 5


def test_the_limit_is_scaled_while_its_counters_go_on():
    rate = RateLimit("100/hour")
    assert let_in(rate, "10.0.0.1", 30) == 30
    rate.scale(0.5)
    assert let_in(rate, "10.0.0.1", 200) == 20
    rate.scale(0.000001)
    assert rate.amount == 1
    rate.scale(1.0)
    assert let_in(rate, "10.0.0.1", 200) == 50


@pytest.mark.parametrize(("share", "text"), [(1.0, "100/3600 second"), (0.41, "50/3600 second")])
def test_slowapi_is_told_the_limit_by_tenths(share, text):
    rate = RateLimit("100/hour")
    rate.scale(share)
    assert rate.text() == text


def test_the_memory_for_clients_is_bounded(monkeypatch):
    monkeypatch.setattr("ml_service.rate_limit.MOST_CLIENTS", 10)
    rate = RateLimit("5/hour")
    for number in range(100):
        rate.take(f"10.0.1.{number}")
    assert len(rate._windows) <= 10


def test_a_limit_that_cannot_be_read_stops_the_start():
    with pytest.raises(SettingsError, match=r"AIMQ_RATE_LIMIT.*2000/second"):
        RateLimit("many")


@pytest.mark.redis
async def test_replicas_share_a_limit_through_redis(redis_url, clock):
    settings = Settings(store_url=redis_url)
    replicas = [RateLimit("100/hour", connect_storage(settings), clock) for _ in range(2)]
    taken = 0
    for _ in range(40):
        for replica in replicas:
            taken += let_in(replica, "10.9.9.1", 3)
            await replica.share()
    assert 100 <= taken <= 100 + 3  # what one replica took since the other shared


async def test_without_its_redis_each_replica_counts_alone(caplog):
    shared = connect_storage(Settings(store_url="redis://127.0.0.1:1/0"))
    rate = RateLimit("50/hour", shared)
    taken = 0
    for _ in range(20):
        taken += let_in(rate, "10.9.9.2", 5)
        await rate.share()
    assert taken == 50
    assert caplog.text.count("each replica alone") == 1


def test_without_a_redis_nothing_is_shared():
    assert connect_storage(Settings()) is None
