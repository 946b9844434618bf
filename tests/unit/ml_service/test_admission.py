"""What the gate sees of a turn of the event loop: all that those who come next have to wait for."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from aimq.errors import Overloaded
from aimq.settings import Settings
from ml_service.access import Access
from ml_service.admission import Gate
from ml_service.client_rates import ClientRates
from ml_service.limits import Aimd
from tests.clock import Clock

WORK = 0.004
TARGET = 0.02


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(clock):
    rates = ClientRates("1000000/second", "memory://", None)
    return Gate(Access(Settings()), rates, Aimd(target=TARGET), CollectorRegistry(), clock)


def request():
    return {"type": "http", "headers": [], "client": ("127.0.0.1", 1)}


async def work(gate, clock, scope, awaited=None):
    entered = gate.enter(scope)
    if awaited is not None:
        await awaited
    clock.now += WORK
    gate.leave(scope, entered, quick=False)


async def turns(count=4):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_work_of_tasks_that_a_turn_started_is_part_of_it(gate, clock):
    scopes = [request() for _ in range(10)]
    for scope in scopes:
        gate.enter_early(scope)
    tasks = [asyncio.create_task(work(gate, clock, scope)) for scope in scopes]
    await asyncio.gather(*tasks)
    await turns()
    gate.look()
    assert gate.health.lag == pytest.approx(10 * WORK)
    assert gate.limits.concurrency < Aimd(target=TARGET).start().concurrency


async def test_what_is_answered_where_it_is_parsed_ends_its_turn_there(gate, clock):
    for _ in range(10):
        scope = request()
        gate.enter_early(scope)
        entered = gate.enter(scope)
        clock.now += WORK
        gate.leave(scope, entered, at_once=True)
    asyncio.get_running_loop().call_soon(setattr, clock, "now", clock.now + 10 * WORK)
    await turns()
    gate.look()
    assert gate.health.lag == pytest.approx(10 * WORK)
    assert gate.health.waiting == 10


async def test_waiting_for_another_service_is_no_lag(gate, clock):
    answer = asyncio.get_running_loop().create_future()
    scope = request()
    gate.enter_early(scope)
    task = asyncio.create_task(work(gate, clock, scope, answer))
    await turns()
    clock.now += 5.0
    answer.set_result(None)
    await task
    await turns()
    gate.look()
    assert gate.health.lag == 0


async def test_no_more_are_let_in_than_the_bound_until_the_turn_ends(gate, clock):
    for _ in range(gate.limits.concurrency):
        scope = request()
        gate.enter_early(scope)
        gate.leave(scope, gate.enter(scope), at_once=True)
    with pytest.raises(Overloaded):
        gate.enter_early(request())
    await turns()
    gate.enter_early(request())


async def test_slow_turns_bring_the_bound_down_to_what_the_target_allows(gate, clock):
    for _ in range(60):
        tasks = []
        for _ in range(200):
            scope = request()
            try:
                gate.enter_early(scope)
            except Overloaded:
                break
            tasks.append(asyncio.create_task(work(gate, clock, scope)))
        await asyncio.gather(*tasks)
        await turns()
        gate.look()
    assert gate.limits.concurrency <= max(8, 2 * TARGET / WORK)
