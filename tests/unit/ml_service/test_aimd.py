"""The limits fall fast when the service is late, recover step by step, and stay in bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ml_service.aimd import Aimd, Health, Limits

POLICY = Aimd(lag=0.01)
WELL = Health(lag=0.001, in_flight=1000)
LATE = Health(lag=0.0101, in_flight=1000)

healths = st.builds(Health, lag=st.floats(0, 10), in_flight=st.integers(0, 10_000))


@given(st.lists(healths, max_size=60))
def test_the_limits_stay_within_their_bounds_whatever_is_seen(seen):
    limits = POLICY.start
    for health in seen:
        limits = POLICY.next(limits, health)
        assert POLICY.least.share <= limits.share <= POLICY.most.share
        assert POLICY.least.in_flight <= limits.in_flight <= POLICY.most.in_flight


@given(healths)
def test_both_limits_fall_or_neither(health):
    before = Limits(share=0.5, in_flight=256)
    after = POLICY.next(before, health)
    if POLICY.is_healthy(health):
        assert after.share > before.share
        assert after.in_flight >= before.in_flight
    else:
        assert after.share < before.share
        assert after.in_flight < before.in_flight


def test_a_moment_of_lateness_costs_no_client_its_rate():
    limits = POLICY.start
    for _ in range(4):
        limits = POLICY.next(limits, LATE)
    assert limits.in_flight == POLICY.least.in_flight + 8
    assert limits.share > 0.95
    for _ in range(4):
        limits = POLICY.next(limits, WELL)
    assert limits.share == 1.0


def test_lateness_without_a_queue_is_no_reason_to_let_in_fewer():
    assert POLICY.is_healthy(Health(lag=5.0, in_flight=1))


def test_it_falls_in_a_few_samples_and_recovers_fully():
    limits = POLICY.start
    for _ in range(6):
        limits = POLICY.next(limits, LATE)
    assert limits.in_flight == POLICY.least.in_flight
    for _ in range(300):
        limits = POLICY.next(limits, LATE)
    assert limits.share == POLICY.least.share
    for _ in range(600):
        limits = POLICY.next(limits, WELL)
    assert limits == POLICY.most


def test_a_limit_that_nobody_comes_near_does_not_grow():
    limits = Limits(share=1.0, in_flight=200)
    assert POLICY.next(limits, Health(lag=0.001, in_flight=3)).in_flight == 200
    assert POLICY.next(limits, Health(lag=0.001, in_flight=100)).in_flight == 201
