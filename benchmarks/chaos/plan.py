"""What will go wrong, and when: drawn in advance from a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

#: Time between two blows, in seconds.
_GAP = (0.3, 2.5)
#: Share of the blows that fall at the same moment as the one before, on another victim.
_TOGETHER = 0.2
#: What is struck stays so for at most so long, in seconds.
_LONGEST_OUTAGE = 2.0


@dataclass(frozen=True)
class Blow:
    """One thing that can go wrong: `strike` does it, `mend` undoes it after a while.

    Attributes:
        rest: seconds that the victim is left alone afterwards, so that it is not down all the time.
        outage: longest time until it is mended, in seconds.
    """

    victim: str
    name: str
    strike: Callable[[], object]
    mend: Callable[[], object] = lambda: None
    rest: float = 3.0
    outage: float = _LONGEST_OUTAGE


@dataclass(frozen=True)
class Planned:
    """A blow with its time since the start and the time until it is mended, in seconds."""

    at: float
    blow: Blow
    outage: float


def plan(blows: Sequence[Blow], count: int, draw: random.Random) -> list[Planned]:
    """Draw `count` blows in order of time; every victim is as likely as any other.

    One that is struck is left alone for its rest. Some blows fall together.
    """
    by_victim: dict[str, list[Blow]] = {}
    for blow in blows:
        by_victim.setdefault(blow.victim, []).append(blow)
    free_at = dict.fromkeys(by_victim, 0.0)
    planned: list[Planned] = []
    now = 0.0
    for _ in range(count):
        now += 0.0 if planned and draw.random() < _TOGETHER else draw.uniform(*_GAP)
        now = max(now, min(free_at.values()))
        blow = draw.choice(by_victim[draw.choice(_free(free_at, now))])
        outage = draw.uniform(0.0, blow.outage)
        free_at[blow.victim] = now + outage + blow.rest
        planned.append(Planned(now, blow, outage))
    return planned


def _free(free_at: Mapping[str, float], now: float) -> list[str]:
    return [victim for victim, at in free_at.items() if at <= now]
