"""Which share a canary takes, and how its file is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_service import canary
from ml_service.canary import Canary

TEN = Canary(version="v2", percent=10, beside="v1")


@given(st.integers(1, 100))
def test_it_takes_its_percentage_of_evenly_drawn_numbers(percent):
    asked = Canary(version="v2", percent=percent, beside="v1")
    taken = sum(asked.takes(drawn / 1000) for drawn in range(1000))
    assert abs(taken - percent * 10) <= 1


def test_the_file_says_what_was_written_until_it_is_removed(tmp_path):
    assert canary.read(tmp_path) is None
    canary.write(tmp_path, TEN)
    assert canary.read(tmp_path) == TEN
    assert [path.name for path in tmp_path.iterdir()] == [canary.FILE]
    canary.write(tmp_path, None)
    canary.write(tmp_path, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"", b"20260131T120000Z 10", b"[]", b"\xff", b'{"version": "v2"}',
        b'{"version": "v2", "percent": 0, "beside": "v1"}',
        b'{"version": "v2", "percent": 101, "beside": "v1"}',
        b'{"version": "v2", "percent": "all", "beside": "v1"}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_no_canary(tmp_path, content):
    (tmp_path / canary.FILE).write_bytes(content)
    assert canary.read(tmp_path) is None
