"""The clock of leases and delays: what moves it, and what does not."""

import time

import pytest

from aimq.sqlite import clock
from aimq.sqlite.connection import Connection

HOUR = 3_600_000_000


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that starts the machine again, under a name."""

    def start(name):
        file = tmp_path / "name of start"
        file.write_text(f"{name}\n")
        monkeypatch.setattr(clock, "_NAME_OF_START", file)

    start("first")
    return start


@pytest.fixture
def step(monkeypatch):
    """Return a function that steps the time of day by so many microseconds."""
    right = time.time_ns
    return lambda by: monkeypatch.setattr(time, "time_ns", lambda: right() + by * 1000)


def now_us(path):
    connection = Connection(path)
    connection.get()
    try:
        return connection.now_us()
    finally:
        connection.close()


@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_all_who_open_the_file_agree_whatever_the_time_of_day(tmp_path, machine, step, by):
    before = now_us(tmp_path / "a.db")
    step(by)
    assert before <= now_us(tmp_path / "a.db") < before + HOUR / 2


def test_it_is_the_time_of_day_at_the_first_use_after_each_start(tmp_path, machine, step):
    before = now_us(tmp_path / "a.db")
    step(HOUR)
    machine("second")
    assert now_us(tmp_path / "a.db") >= before + HOUR


def test_it_is_the_time_of_day_where_starts_have_no_names(tmp_path, monkeypatch, step):
    monkeypatch.setattr(clock, "_NAME_OF_START", tmp_path / "absent")
    before = now_us(tmp_path / "a.db")
    step(HOUR)
    assert now_us(tmp_path / "a.db") >= before + HOUR
