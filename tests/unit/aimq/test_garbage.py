"""Start-up's objects leave the collector's rounds; later ones do not."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from aimq.freeze_gc import freeze_gc


class Ring:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def spared() -> Iterator[None]:
    """Give back afterwards what was taken out."""
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("spared")
def test_what_there_is_is_never_looked_at_again() -> None:
    kept = [[number] for number in range(1000)]
    freeze_gc()
    assert gc.get_freeze_count() > len(kept)
    assert not any(found is kept for found in gc.get_objects())


@pytest.mark.usefixtures("spared")
def test_cycles_of_before_are_freed_first_and_of_after_still_are() -> None:
    before = weakref.ref(Ring())
    freeze_gc()
    assert before() is None
    after = weakref.ref(Ring())
    gc.collect()
    assert after() is None
