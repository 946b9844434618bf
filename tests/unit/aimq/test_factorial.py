import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimq.factorial import digits, factorial, preview


@given(st.integers(0, 600))
def test_the_loop_gives_the_factorial(no):
    assert factorial(no) == math.factorial(no)


@settings(max_examples=30)
@given(st.integers(0, 1 << 14_000))
def test_digits_are_those_of_the_number(value):
    text = digits(value)
    assert text.isdecimal()
    back = 0
    for start in range(0, len(text), 4000):  # int() refuses more at once
        piece = text[start : start + 4000]
        back = back * 10 ** len(piece) + int(piece)
    assert back == value


@pytest.mark.parametrize("bits", [8191, 8192, 8193, 16384, 16385, 40_001])
def test_digits_are_right_around_every_split(bits):
    assert digits(10 ** (bits // 4)) == "1" + "0" * (bits // 4)


def test_all_digits_of_a_long_factorial_arrive():
    text = digits(math.factorial(150_000))
    assert len(text) == 711_273
    assert text.endswith("0" * 37_498)
    assert not text.endswith("0" * 37_499)


def test_a_preview_shows_both_ends_and_the_length():
    assert preview("123") == "123"
    assert preview("1" * 40 + "2" * 60) == f"{'1' * 20}…{'2' * 20} (100 digits)"
