"""The circuit breaker's policy, on a clock of its own."""

from __future__ import annotations

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ml_service.breaker import Breaker
from tests.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(clock=clock, threshold=3, window=10, cooldown=2, longest=5)


def opened(breaker: Breaker) -> Breaker:
    for _ in range(3):
        breaker.failed()
    return breaker


def test_it_opens_at_the_threshold_and_not_before(breaker):
    breaker.failed()
    breaker.failed()
    assert breaker.closed
    breaker.failed()
    assert not breaker.closed


def test_failures_older_than_the_window_do_not_count(breaker, clock):
    breaker.failed()
    breaker.failed()
    clock.now += 10
    breaker.failed()
    assert breaker.closed
    breaker.failed()
    assert breaker.closed
    breaker.failed()
    assert not breaker.closed


def test_no_probe_is_due_before_the_cooldown(breaker, clock):
    opened(breaker)
    assert breaker.seconds_to_probe() == 2
    clock.now += 1.5
    assert breaker.seconds_to_probe() == 0.5
    clock.now += 0.5
    assert breaker.seconds_to_probe() == 0
    assert not breaker.closed


def test_a_probe_that_succeeds_closes_with_a_clean_record(breaker, clock):
    opened(breaker)
    clock.now += 2
    breaker.probe_succeeded()
    assert breaker.closed
    assert breaker.seconds_to_probe() is None
    breaker.failed()
    breaker.failed()
    assert breaker.closed


def test_each_failed_probe_doubles_the_wait_up_to_the_longest(breaker, clock):
    opened(breaker)
    waits = []
    for _ in range(4):
        waits.append(breaker.seconds_to_probe())
        clock.now += waits[-1]
        breaker.probe_failed()
    assert waits == [2, 4, 5, 5]


def test_the_wait_is_short_again_after_a_recovery(breaker, clock):
    opened(breaker)
    for _ in range(3):
        clock.now += 5
        breaker.probe_failed()
    clock.now += 5
    breaker.probe_succeeded()
    assert opened(breaker).seconds_to_probe() == 2


def test_late_failures_of_earlier_calls_do_not_move_an_open_breaker(breaker, clock):
    opened(breaker)
    clock.now += 1
    breaker.failed()
    assert not breaker.closed
    assert breaker.seconds_to_probe() == 1


def test_tripped_it_is_open_and_due_at_once(breaker):
    breaker.trip()
    assert not breaker.closed
    assert breaker.seconds_to_probe() == 0
    breaker.probe_failed()
    assert breaker.seconds_to_probe() == 4


def test_a_trip_does_not_shorten_a_cooldown_under_way(breaker):
    opened(breaker).trip()
    assert breaker.seconds_to_probe() == 2


class BreakerMachine(RuleBasedStateMachine):
    """Whatever the order of calls: it opens at the threshold, and only a probe closes it."""

    @initialize(threshold=st.integers(1, 5))
    def start(self, threshold):
        self.clock = Clock()
        self.threshold = threshold
        self.breaker = Breaker(
            clock=self.clock, threshold=threshold, window=10, cooldown=1, longest=8
        )
        self.recent: list[float] = []

    @rule(seconds=st.integers(0, 160).map(lambda eighths: eighths / 8))  # exact in binary
    def time_passes(self, seconds):
        self.clock.now += seconds

    @rule()
    def a_call_fails(self):
        was_closed, wait = self.breaker.closed, self.breaker.seconds_to_probe()
        self.breaker.failed()
        if was_closed:
            self.recent.append(self.clock.now)
            counted = [t for t in self.recent[-self.threshold :] if self.clock.now - t < 10]
            assert self.breaker.closed == (len(counted) < self.threshold)
            assert self.breaker.seconds_to_probe() in (None, 1)
        else:
            assert self.breaker.seconds_to_probe() == wait
        if not self.breaker.closed:
            self.recent = []

    @rule()
    def it_is_tripped(self):
        wait = self.breaker.seconds_to_probe()
        self.breaker.trip()
        assert self.breaker.seconds_to_probe() == (wait or 0)
        self.recent = []

    @rule()
    def a_probe_fails(self):
        was_closed = self.breaker.closed
        self.breaker.probe_failed()
        assert self.breaker.closed == was_closed
        assert was_closed or self.breaker.seconds_to_probe() >= 2

    @precondition(lambda self: not self.breaker.closed)
    @rule()
    def a_probe_succeeds(self):
        self.breaker.probe_succeeded()
        assert self.breaker.closed

    @precondition(lambda self: not self.breaker.closed)
    @rule()
    def after_the_longest_wait_a_probe_is_due(self):
        self.clock.now += 8
        assert self.breaker.seconds_to_probe() == 0

    @invariant()
    def the_wait_is_bounded(self):
        wait = self.breaker.seconds_to_probe()
        assert (wait is None) == self.breaker.closed
        assert wait is None or 0 <= wait <= 8


BreakerMachine.TestCase.settings = hypothesis_settings(max_examples=50)
TestBreakerMachine = BreakerMachine.TestCase
