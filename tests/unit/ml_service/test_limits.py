"""The limits fall fast when the service is slow, recover step by step, and stay in bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ml_service.limits import Aimd, Health, Limits

POLICY = Aimd(target=0.02)
WELL = Health(latency=0.001, lag=0.001, waiting=1000)
SLOW = Health(latency=0.05, lag=0.001, waiting=1000)

healths = st.builds(
    Health,
    latency=st.floats(0, 10),
    lag=st.floats(0, 10),
    waiting=st.integers(0, 10_000),
)


@given(st.lists(healths, max_size=60))
def test_the_limits_stay_within_their_bounds_whatever_is_seen(seen):
    limits = POLICY.start()
    for health in seen:
        limits = POLICY.next(limits, health)
        assert POLICY.least.share <= limits.share <= POLICY.most.share
        assert POLICY.least.concurrency <= limits.concurrency <= POLICY.most.concurrency


@given(healths)
def test_a_look_decreases_both_limits_or_neither_once_slowness_has_lasted(health):
    before = Limits(share=0.5, concurrency=256, slow_looks=POLICY.patience - 1)
    after = POLICY.next(before, health)
    if POLICY.healthy(health):
        assert after.share > before.share
        assert after.concurrency >= before.concurrency
    else:
        assert after.share < before.share
        assert after.concurrency < before.concurrency


def test_a_moment_of_slowness_costs_no_client_its_rate():
    limits = POLICY.start()
    for _ in range(POLICY.patience - 1):
        limits = POLICY.next(limits, SLOW)
    assert limits.share == 1.0
    assert limits.concurrency < POLICY.start().concurrency
    assert POLICY.next(limits, SLOW).share < 1.0
    assert POLICY.next(POLICY.next(limits, WELL), SLOW).share == 1.0


def test_a_slow_event_loop_is_unhealthy_at_half_the_target():
    assert POLICY.healthy(Health(latency=0.02, lag=0.01, waiting=2))
    assert not POLICY.healthy(Health(latency=0.0, lag=0.0101, waiting=2))


def test_slowness_without_a_queue_is_no_reason_to_let_in_fewer():
    assert POLICY.healthy(Health(latency=5.0, lag=5.0, waiting=1))


def test_it_falls_in_a_few_looks_and_recovers_fully():
    limits = POLICY.start()
    for _ in range(48):
        limits = POLICY.next(limits, SLOW)
    assert (limits.share, limits.concurrency) == (POLICY.least.share, POLICY.least.concurrency)
    for _ in range(600):
        limits = POLICY.next(limits, WELL)
    assert limits == POLICY.most


def test_a_bound_that_nobody_reaches_does_not_grow():
    limits = Limits(share=1.0, concurrency=200)
    idle = Health(latency=0.001, lag=0.001, waiting=3)
    assert POLICY.next(limits, idle).concurrency == 200


def test_the_bound_falls_by_as_much_as_the_target_was_missed():
    def after(lag):
        return POLICY.next(
            Limits(share=1.0, concurrency=200), Health(latency=0.0, lag=lag, waiting=200)
        ).concurrency

    assert after(0.0101) == 180
    assert after(0.02) == 100
    assert after(0.04) == 50
    assert after(5.0) == 50
