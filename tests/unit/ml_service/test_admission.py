"""Requests in flight are bounded; what arrives together is counted, or refused, before any work."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from aimq.errors import Overloaded, RateLimited
from aimq.http.credentials import Caller
from ml_service.admission import Admission
from ml_service.aimd import Aimd, Limits
from ml_service.rate_limit import RateLimit

LIMIT = 4


@pytest.fixture
def rate():
    return RateLimit("10/hour")


@pytest.fixture
def admission(rate):
    limits = Limits(in_flight=LIMIT, share=1.0)
    policy = Aimd(lag=0.01, start=limits, least=Limits(in_flight=1, share=0.1))
    return Admission(rate, policy, CollectorRegistry())


def request(caller=None):
    return {"type": "http", "headers": [], "client": ("10.0.0.1", 1), "aimq.caller": caller}


async def test_what_arrives_together_is_counted_before_any_of_it_is_worked_on(admission):
    worked_on = []

    async def one():
        async with admission:
            worked_on.append(admission.in_flight)

    answers = await asyncio.gather(*[one() for _ in range(2 * LIMIT)], return_exceptions=True)
    assert sorted(worked_on, reverse=True) == list(range(LIMIT, 0, -1))
    assert sum(isinstance(answer, Overloaded) for answer in answers) == LIMIT
    assert admission.in_flight == 0


async def test_a_full_service_refuses_before_the_body_is_read_and_counts_nothing(admission, rate):
    async with admission, admission, admission, admission:
        with pytest.raises(Overloaded) as refusal:
            admission.check(request())
        assert admission.headers(refusal.value)["RateLimit-Limit"] == "10"
    for _ in range(10):
        admission.check(request())
    with pytest.raises(RateLimited):
        admission.check(request())
    admission.check(request(Caller.INTERNAL))


async def test_what_waits_for_a_thread_is_not_in_flight(admission):
    async with admission:
        with admission.aside():
            assert admission.in_flight == 0
        assert admission.in_flight == 1


async def test_a_request_that_is_cancelled_while_it_is_let_in_no_longer_counts(admission):
    async def one():
        async with admission:
            pass

    task = asyncio.create_task(one())
    await asyncio.sleep(0)
    assert admission.in_flight == 1
    task.cancel()
    await asyncio.wait([task])
    assert admission.in_flight == 0


async def test_the_limits_follow_the_lag_and_what_was_in_flight(admission, rate):
    async with admission, admission:
        pass
    admission.adjust(lag=1.0)
    assert admission.limits.in_flight == 3
    assert rate.amount < 10
    admission.adjust(lag=1.0)  # nothing was in flight since
    assert admission.limits.in_flight == 4
