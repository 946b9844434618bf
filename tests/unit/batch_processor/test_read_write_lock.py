"""The lock that gives a job the process to itself."""

import threading

from batch_processor.read_write_lock import ReadWriteLock

PATIENCE = 10.0


def start(target):
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def test_threads_share_it_side_by_side():
    lock, both = ReadWriteLock(), threading.Barrier(2)

    def hold():
        with lock.shared():
            both.wait(PATIENCE)

    threads = [start(hold), start(hold)]
    for thread in threads:
        thread.join(PATIENCE)
    assert not both.broken


def test_without_waiting_it_is_not_had_while_others_hold_it():
    lock = ReadWriteLock()
    with lock.shared(), lock.exclusive(wait=False) as held:
        assert not held
    with lock.exclusive(wait=False) as held:
        assert held
        with lock.exclusive(wait=False) as again:
            assert not again
    with lock.exclusive(wait=False) as held:
        assert held


def test_a_thread_that_waits_for_it_exclusively_goes_before_those_that_would_share_it():
    lock, order = ReadWriteLock(), []
    entered, release = threading.Event(), threading.Event()

    def first():
        with lock.shared():
            entered.set()
            release.wait(PATIENCE)

    def exclusive():
        with lock.exclusive():
            order.append("exclusive")

    def late():
        with lock.shared():
            order.append("shared")

    threads = [start(first)]
    assert entered.wait(PATIENCE)
    threads.append(start(exclusive))
    while not lock._waiting:
        threading.Event().wait(0.001)
    threads.append(start(late))
    release.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert order == ["exclusive", "shared"]
