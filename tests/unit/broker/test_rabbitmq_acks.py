import hypothesis.strategies as st
from hypothesis import given

from aimq.broker.rabbitmq.acks import Outstanding


def server_view(tags, upto, rest):
    """What a server forgets when it is told so."""
    return {tag for tag in tags if tag <= upto} | set(rest)


@given(data=st.data(), count=st.integers(1, 30))
def test_exactly_what_was_acked_is_forgotten(data, count):
    outstanding, held = Outstanding(), set()
    for tag in range(1, count + 1):
        outstanding.add(tag)
        held.add(tag)
    while held:
        acked = data.draw(st.sets(st.sampled_from(sorted(held)), min_size=1))
        forgotten = server_view(held, *outstanding.settle(acked))
        assert forgotten == acked
        held -= acked
        assert len(outstanding) == len(held)


def test_neighbours_are_acked_as_one():
    outstanding = Outstanding()
    for tag in range(1, 6):
        outstanding.add(tag)

    assert outstanding.settle([3, 1, 2, 5]) == (3, [5])
    assert outstanding.settle([4]) == (4, [])


def test_what_is_settled_otherwise_is_in_nobodys_way():
    outstanding = Outstanding()
    for tag in (1, 2, 3):
        outstanding.add(tag)
    outstanding.remove(1)

    assert outstanding.settle([2]) == (2, [])
    assert len(outstanding) == 1
