"""What a number may be, in words: the limits that the schema has, and no others."""

import pytest

from aimq.schema.error_texts import allowed, wrong
from aimq.schema.feature import Feature, FeatureType


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, "a number"),
        ({"minimum": 0}, "a number of at least 0 km"),
        ({"maximum": 5000}, "a number of at most 5,000 km"),
        ({"minimum": -1.5, "maximum": 5000}, "a number from -1.5 to 5,000 km"),
    ],
)
def test_a_number_has_the_limits_of_its_schema(limits, words):
    feature = Feature(name="distance", type=FeatureType.NUMBER, unit="km", **limits)
    assert allowed(feature) == words
    assert wrong(feature, "far") == f"'far' is not {words}"
