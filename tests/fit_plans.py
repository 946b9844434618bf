"""Plans of small trainings."""

from __future__ import annotations

from aimq.schema.model import Task
from etl.plan import Plan


def plan(columns: int, classes: tuple[str, ...] = (), **changed) -> Plan:
    """Return a quick plan for so many columns of numbers."""
    settings = {
        "task": Task.CLASSIFICATION if classes else Task.REGRESSION,
        "classes": classes,
        "coded": (False,) * columns,
        "seed": 7,
        "held_out": 0.2,
        "jobs": 1,
        "trees": 8,
        "leaf": 5,
    }
    return Plan(**{**settings, **changed})
