"""Which models leave the memory: the least recently used ones. Pure policy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A loaded model.

    Attributes:
        bytes: estimate of its memory.
        used: rank of its last use; larger is later.
        kept: stays whatever happens.
    """

    name: str
    bytes: int
    used: int
    kept: bool = False


def evicted(residents: Iterable[Resident], bound: int) -> list[str]:
    """Return which models to unload, in this order, so that the sum of the others fits a bound.

    Those that are kept count, too; if they alone are over the bound, all others go.
    """
    loaded = list(residents)
    total = sum(resident.bytes for resident in loaded)
    names = []
    for resident in sorted(loaded, key=lambda resident: resident.used):
        if total <= bound:
            break
        if not resident.kept:
            names.append(resident.name)
            total -= resident.bytes
    return names
