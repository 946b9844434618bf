"""The figures of a version's training rows on disk, and what is refused."""

import msgspec
import pytest

from aimq.errors import ModelRefused
from aimq.profile import ColumnProfile, Profile, encode_profile, read_profile

AREA = ColumnProfile(
    name="area", feature="area", edges=[50.0, 90.0], counts=[3, 4, 3], low=12, high=310, coded=False
)
COLOUR = ColumnProfile(
    name="colour",
    feature="colour",
    edges=[-1.5, -0.5, 0.5],
    counts=[0, 0, 4, 6],
    low=0,
    high=1,
    coded=True,
)
GOOD = Profile(
    rows=10,
    columns=[AREA, COLOUR],
    never_together=[(0, 2, 1, 3)],
    intervals={"all": [float(level) for level in range(1, 100)]},
)


def test_a_profile_reads_as_it_was_written(tmp_path):
    path = tmp_path / "profile.json"
    path.write_bytes(encode_profile(GOOD))
    assert read_profile(path) == GOOD


def column(**changes):
    return msgspec.structs.replace(AREA, **changes)


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        ({"columns": [column(counts=[1, 2])]}, "area"),
        ({"columns": [column(edges=[90.0, 50.0])]}, "area"),
        ({"columns": [column(counts=[1, -2, 3])]}, "area"),
        ({"columns": [column(low=400)]}, "area"),
        ({"never_together": [(0, 3, 1, 0)]}, "never_together"),
        ({"never_together": [(0, 0, 2, 0)]}, "never_together"),
        ({"never_together": [(-1, 0, 1, 0)]}, "never_together"),
        ({"intervals": {"all": [1.0]}}, "group all"),
        ({"intervals": {"all": [2.0] * 98 + [1.0]}}, "group all"),
        ({"intervals": {"all": [-1.0] * 99}}, "group all"),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused(tmp_path, damaged, says):
    path = tmp_path / "profile.json"
    path.write_bytes(encode_profile(msgspec.structs.replace(GOOD, **damaged)))
    with pytest.raises(ModelRefused, match=says):
        read_profile(path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"rows": "many", "columns": []}'])
def test_what_is_no_profile_is_refused(tmp_path, content):
    path = tmp_path / "profile.json"
    path.write_bytes(content)
    with pytest.raises(ModelRefused, match="cannot be read"):
        read_profile(path)


def test_a_profile_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelRefused, match="cannot be read"):
        read_profile(tmp_path / "profile.json")
