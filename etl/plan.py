"""How one group is fitted, and what its time allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from aimq.schema.model import Task

#: Matrix cells (rows x columns) that the cross-validation may use for each second of the budget.
#: Five folds of all candidates over 60 s worth of cells take about 35 s of one core.
COMPARED_CELLS: Final = 12_500
#: Cells that one tree of the forest may draw for each second of the budget.
TREE_CELLS: Final = 1_500
#: Rows that are compared, and that a tree draws, however short the budget is.
FEWEST_ROWS: Final = 500
#: Bound on the leaf values of a forest (trees x leaves x outputs): 40 MB of ONNX at most.
LEAF_VALUES: Final = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to fit one group.

    Attributes:
        task: regression or classification.
        classes: of a classification; class k is column k of the model's output.
        coded: per matrix column, true where it holds codes.
        seed: of split, folds and candidates: the same rows and plan give the same model.
        held_out: share of the rows kept for the evaluation, between 0 and 1.
        jobs: threads of the forest.
        trees: of the forest.
        leaf: fewest training rows in a leaf of the forest.
        compare: choose among all candidates; false: the forest alone, on all rows.
        budget: seconds on two cores that the comparison is cut to. It is counted in cells, not
            timed, so that a slow machine chooses the same model; the last fit is of all rows.
        group: name of the group, for messages; empty without groups.
    """

    task: Task
    classes: tuple[str, ...] = ()
    coded: tuple[bool, ...]
    seed: int
    held_out: float
    jobs: int
    trees: int
    leaf: int
    compare: bool = True
    budget: float = 60.0
    group: str = ""

    @property
    def classifies(self) -> bool:
        """Whether the target is a class."""
        return self.task is Task.CLASSIFICATION

    @property
    def where(self) -> str:
        """What a message begins with: the group, if there are groups."""
        return f"Group {self.group}: " if self.group else ""

    @property
    def compared_rows(self) -> int:
        """Most rows in the cross-validation. Boosting grows a tree per class if there are three."""
        cost = len(self.coded) * (len(self.classes) if len(self.classes) > 2 else 1)  # noqa: PLR2004 - two classes need one tree
        return max(FEWEST_ROWS, int(self.budget * COMPARED_CELLS / cost))

    @property
    def tree_rows(self) -> int | None:
        """Most rows that a tree of the forest draws; None: as many as there are."""
        if not self.compare:
            return None
        return max(FEWEST_ROWS, int(self.budget * TREE_CELLS / len(self.coded)))

    def leaf_rows(self, rows: int) -> int:
        """Return the fewest rows in a leaf that keep a forest of that many rows a tree small."""
        if not self.compare:
            return self.leaf
        outputs = max(1, len(self.classes))
        return max(self.leaf, math.ceil(self.trees * rows * outputs / LEAF_VALUES))
