from hypothesis import given
from hypothesis import strategies as st

from aimq.backoff import RetryPolicy
from aimq.restart_backoff import RestartBackoff

seconds = st.floats(0.01, 1000)
policies = st.builds(
    lambda base, factor, attempts: RetryPolicy(attempts, base, base * factor),
    seconds,
    st.floats(1, 1000),
    st.integers(1, 20),
)


@given(policies, st.integers(1, 500), st.floats(0, 1, exclude_max=True))
def test_a_delay_lies_between_half_the_nominal_and_the_nominal(policy, attempts, draw):
    nominal = policy.nominal(attempts)
    assert nominal / 2 <= policy.delay(attempts, lambda: draw) <= nominal <= policy.max_seconds


@given(policies, st.integers(1, 100))
def test_delays_never_shrink_and_double_up_to_the_maximum(policy, attempts):
    now, then = policy.nominal(attempts), policy.nominal(attempts + 1)
    assert then == min(2 * now, policy.max_seconds)


@given(policies, st.integers(1, 100), st.floats(0, 10_000))
def test_a_longer_retry_after_wins_up_to_the_maximum(policy, attempts, asked):
    delay = policy.delay(attempts, lambda: 0.0, retry_after=asked)
    assert delay >= min(asked, policy.max_seconds)
    assert delay <= policy.max_seconds


@given(policies, st.integers(0, 100))
def test_attempts_are_exhausted_at_the_maximum(policy, attempts):
    assert policy.exhausted(attempts) == (attempts >= policy.max_attempts)


@given(st.lists(st.floats(0, 59), max_size=80))
def test_restarts_slow_down_to_the_longest_delay(lives):
    policy = RestartBackoff()
    delays = [policy.next_delay(life) for life in lives]
    assert delays == sorted(delays)
    assert all(delay <= policy.max_seconds for delay in delays)


def test_a_service_that_lived_long_is_restarted_quickly_again():
    policy = RestartBackoff()
    early = [policy.next_delay(0.0) for _ in range(10)]
    assert policy.next_delay(61.0) == early[0]
