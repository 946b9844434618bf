import math
import os
import signal
import threading

import pytest

from aimq.errors import TaskTooLong, WorkerDied
from aimq.factorial_pool import FactorialPool

LONG = 500_000


@pytest.fixture
def pool():
    pool = FactorialPool(2, 60.0)
    yield pool
    pool.close()


def busy_process(pool):
    while not pool._pool._busy:
        threading.Event().wait(0.01)
    (child,) = pool._pool._busy
    return child._process


def in_thread(call):
    raised = []

    def run():
        try:
            call()
        except Exception as exc:  # noqa: BLE001 # handed to the test
            raised.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


@pytest.mark.parametrize("no", [0, 1, 5, 20, 3000])
def test_the_digits_are_exact(pool, no):
    text = pool.digits(no)
    assert len(text) < 4300 or no == 3000
    value = 0
    for start in range(0, len(text), 1000):
        part = text[start : start + 1000]
        value = value * 10 ** len(part) + int(part)
    assert value == math.factorial(no)


def test_a_process_is_kept_for_the_next_computation(pool):
    pool.digits(5)
    (first,) = pool._pool._idle
    pool.digits(6)
    assert pool._pool._idle == [first]


def test_it_runs_at_low_priority(pool):
    pool.digits(5)
    (child,) = pool._pool._idle
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, child._process.pid) == min(mine + 10, 19)


def test_what_is_not_wanted_any_more_is_stopped(pool):
    def unwanted():
        if pool._pool._busy:
            raise KeyError("stop")

    thread, raised = in_thread(lambda: pool.digits(LONG, unwanted))
    process = busy_process(pool)
    thread.join()
    assert isinstance(raised[0], KeyError)
    assert process.returncode == -signal.SIGKILL
    assert pool.digits(5) == "120"


def test_what_takes_too_long_is_stopped_and_says_so():
    pool = FactorialPool(1, 2.0)
    try:
        with pytest.raises(TaskTooLong, match=r"more than 2 s.* smaller number"):
            pool.digits(LONG)
        assert pool.digits(3) == "6"
    finally:
        pool.close()


def test_a_process_that_dies_fails_its_own_computation_only(pool):
    thread, raised = in_thread(lambda: pool.digits(LONG))
    busy_process(pool).kill()
    assert pool.digits(4) == "24"
    thread.join()
    assert isinstance(raised[0], WorkerDied)
    assert "signal 9" in raised[0].detail


def test_a_process_killed_while_idle_is_replaced(pool):
    pool.digits(4)
    pool._pool._idle[0]._process.kill()
    pool._pool._idle[0]._process.wait()
    assert pool.digits(5) == "120"


def test_one_that_waits_for_its_turn_can_be_called_off():
    pool = FactorialPool(1, 60.0)
    try:
        thread, raised = in_thread(lambda: pool.digits(LONG))
        busy_process(pool)

        def unwanted():
            raise KeyError("stop")

        with pytest.raises(KeyError):
            pool.digits(5, unwanted)
    finally:
        pool.close()
    thread.join()
    assert isinstance(raised[0], WorkerDied)
    with pytest.raises(WorkerDied):
        pool.digits(5)
