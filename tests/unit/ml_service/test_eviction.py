"""The least recently used models leave the memory, and no more of them than must."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ml_service.eviction import Resident, evicted

RESIDENTS = st.lists(
    st.builds(
        Resident,
        name=st.text(max_size=5),
        bytes=st.integers(0, 100),
        used=st.integers(0, 20),
        kept=st.booleans(),
    ),
    unique_by=lambda resident: resident.name,
)


def resident(name: str, used: int, *, kept: bool = False) -> Resident:
    return Resident(name=name, bytes=10, used=used, kept=kept)


def test_the_least_recently_used_ones_go_first_and_only_as_many_as_needed():
    loaded = [resident("a", 3), resident("b", 1), resident("c", 2), resident("d", 4)]
    assert evicted(loaded, 40) == []
    assert evicted(loaded, 39) == ["b"]
    assert evicted(loaded, 20) == ["b", "c"]


def test_what_is_kept_stays_and_counts():
    loaded = [resident("default", 0, kept=True), resident("a", 1), resident("b", 2)]
    assert evicted(loaded, 20) == ["a"]
    assert evicted(loaded, 5) == ["a", "b"]


@given(RESIDENTS, st.integers(0, 500))
def test_what_stays_fits_unless_it_is_kept_and_no_later_used_one_goes_before(residents, bound):
    gone = evicted(residents, bound)
    by_name = {each.name: each for each in residents}
    assert not any(by_name[name].kept for name in gone)
    staying = [each for each in residents if each.name not in gone]
    total = sum(each.bytes for each in staying)
    assert total <= bound or all(each.kept for each in staying)
    if gone:
        assert total + by_name[gone[-1]].bytes > bound
        last = max(by_name[name].used for name in gone)
        assert all(each.kept or each.used >= last for each in staying)
