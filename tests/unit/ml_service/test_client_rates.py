"""Clients are limited one by one, in blocks, by counters that slowapi keeps."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from aimq.errors import RateLimited, SettingsError
from ml_service.client_rates import ClientRates


def scope(address: str) -> dict:
    return {"type": "http", "client": (address, 1234), "headers": []}


@pytest.fixture
def threads():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def let_in(rates: ClientRates, address: str, times: int) -> int:
    taken = 0
    for _ in range(times):
        try:
            rates.take(scope(address))
        except RateLimited:
            continue
        taken += 1
    return taken


@pytest.mark.parametrize("limit", [1, 7, 49, 50, 200])
def test_a_client_gets_its_limit_and_not_one_more(threads, limit):
    rates = ClientRates(f"{limit}/hour", "memory://", threads)
    assert let_in(rates, "10.0.0.1", 3 * limit) == limit


def test_clients_do_not_use_up_each_others_limits(threads):
    rates = ClientRates("10/hour", "memory://", threads)
    assert [let_in(rates, f"10.0.0.{n}", 20) for n in range(5)] == [10] * 5


def test_a_refusal_says_when_to_try_again(threads):
    rates = ClientRates("1/hour", "memory://", threads)
    rates.take(scope("10.0.0.1"))
    with pytest.raises(RateLimited, match="1 requests in 3600 s") as refusal:
        rates.take(scope("10.0.0.1"))
    assert 3500 < refusal.value.retry_after <= 3600


def test_a_client_is_let_in_again_once_its_window_has_passed(threads):
    now = [0.0]
    rates = ClientRates("5/hour", "memory://", threads, clock=lambda: now[0])
    assert let_in(rates, "10.0.0.1", 9) == 5
    rates._slowapi.limiter.storage.reset()  # as the hour would
    assert let_in(rates, "10.0.0.1", 9) == 0
    now[0] = 3601.0
    assert let_in(rates, "10.0.0.1", 9) == 5


def test_the_limit_is_scaled_while_its_counters_go_on(threads):
    rates = ClientRates("100/hour", "memory://", threads)
    rates.item.scale(0.5)
    assert let_in(rates, "10.0.0.1", 200) == 50
    rates.item.scale(0.000001)
    assert rates.item.amount == 1


def test_the_memory_for_clients_is_bounded(threads, monkeypatch):
    monkeypatch.setattr("ml_service.client_rates.MOST_CLIENTS", 10)
    rates = ClientRates("5/hour", "memory://", threads)
    for number in range(100):
        rates.take(scope(f"10.0.1.{number}"))
    assert len(rates._leases) <= 10


def test_a_limit_that_cannot_be_read_stops_the_start(threads):
    with pytest.raises(SettingsError, match=r"AIMQ_RATE_LIMIT.*2000/second"):
        ClientRates("many", "memory://", threads)


@pytest.mark.redis
async def test_replicas_share_a_limit_through_redis(threads, redis_url):
    replicas = [ClientRates("100/hour", redis_url, threads) for _ in range(2)]
    taken = 0
    for _ in range(200):
        for replica in replicas:
            taken += let_in(replica, "10.9.9.1", 1)
            await _answered(replica)
    assert 100 <= taken <= 100 + 2 * 2  # a block of two for each replica


async def test_without_its_redis_it_counts_here(threads, caplog):
    rates = ClientRates("50/hour", "redis://127.0.0.1:1/0", threads)
    taken = 0
    for _ in range(200):
        taken += let_in(rates, "10.9.9.2", 1)
        await _answered(rates)
    assert 50 <= taken <= 52
    assert "counted here" in caplog.text


async def _answered(rates: ClientRates) -> None:
    async with asyncio.timeout(10):
        while any(lease.asking for lease in rates._leases.values()):
            await asyncio.sleep(0)
