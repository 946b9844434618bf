"""From a raw table to a schema: which columns are features, of which type, and which are left out.

Deterministic, and independent of the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from aimq.errors import Invalid
from aimq.schema.model import FeatureType, Task, fold
from etl.dates import DateFault
from etl.infer_target import infer_target
from etl.raw_column import RawColumn
from etl.readable import check_readable

#: Fewest rows of a category that the schema lists, and most categories that it lists.
RARE: Final = 5
LISTED: Final = 50
#: Fewest rows of a group.
GROUP_ROWS: Final = 20
#: Words of an ordinary text that is no category.
_SENTENCE: Final = 3


@dataclass(frozen=True, slots=True)
class Inference:
    """What was inferred.

    Attributes:
        source: the tables of a ``schema.toml``.
        left_out: column to the reason why it is no feature.
        notes: what a person should know, one sentence each.
    """

    source: dict[str, Any]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def infer(
    raw: pd.DataFrame,
    *,
    target: str,
    group: str | None = None,
    name: str,
    task: Task | None = None,
) -> Inference:
    """Infer the schema of a raw table of text.

    Args:
        target: column to predict; found without regard to case and outer space.
        group: column whose values have a model each.
        name: of the model.
        task: what to predict; None: classes if the target has few values, else a number.

    Raises:
        Invalid: nothing can be learnt from the table; names the column and says what to do.
    """
    target, group = _find(raw, target), group if group is None else _find(raw, group)
    if target == group:
        raise Invalid(f"{target!r} cannot be both the target and the group.")
    inference = Inference({"name": name, "title": name, "warn": True})
    if group is not None:
        inference.source["group"] = _group(RawColumn.of(group, raw[group]))
    predicted = infer_target(RawColumn.of(target, raw[target]), task, inference.notes)
    inference.source["target"] = predicted
    features = []
    for column in raw.columns:
        if column not in {target, group}:
            found = _feature(RawColumn.of(column, raw[column]), predicted["prediction"], inference)
            features += [found] if found else []
    if not features:
        reasons = "; ".join(f"{column}: {why}" for column, why in inference.left_out.items())
        raise Invalid(f"No column is left to predict {target!r} from. {reasons or 'Add some.'}")
    inference.source["features"] = features
    return inference


def _find(raw: pd.DataFrame, name: str) -> str:
    for column in raw.columns:
        if fold(str(column)) == fold(name):
            return str(column)
    there = ", ".join(map(str, raw.columns))
    raise Invalid(f"The table has no column {name!r}; it has {there}.")


def _group(column: RawColumn) -> dict[str, Any]:
    found = column.categories()
    if len(found) < 2 or len(found) > LISTED:  # noqa: PLR2004 - one group is none
        raise Invalid(
            f"{column.name!r} has {len(found):,} different values; a group needs 2 to {LISTED}. "
            "Choose another column for the group, or none."
        )
    small = [f"{value!r} has {rows}" for value, rows in found.items() if rows < GROUP_ROWS]
    if small:
        raise Invalid(
            f"Each {column.name!r} needs {GROUP_ROWS} rows to learn from: {', '.join(small)}. Give "
            "them another group, delete their rows, or train without a group."
        )
    return {"name": column.name, "values": sorted(found, key=fold)}


def _feature(column: RawColumn, prediction: str, inference: Inference) -> dict[str, Any] | None:
    """Return the table of a feature; None if the column is left out."""
    reason = _unusable(column, prediction)
    notes = [] if reason else check_readable(column)
    reason = reason or _why_not(column)
    described: dict[str, Any] = {"name": column.name, "type": str(column.type)}
    blank = column.filled < column.rows
    if not reason and column.type is FeatureType.CATEGORY:
        categories = _categories(column)
        covered = sum(categories.values())
        if covered < column.filled / 2:
            reason = f"free text: {len(column.texts):,} different texts in {column.filled:,} rows"
        described["categories"] = sorted(categories, key=fold)
        described["other"] = True  # predicted with a warning, rather than refused
        blank = column.rows - column.filled > sum(categories.get(word, 0) for word in column.words)
    if reason:
        inference.left_out[column.name] = reason
        return None
    usual = _usual(column)
    if blank:
        described |= {"blank": True, **({} if usual is None else {"fill": usual})}
    elif usual is not None:
        described["example"] = usual
    inference.notes.extend(notes)
    return described


def _unusable(column: RawColumn, prediction: str) -> str:
    """Why a column is no feature, whatever its cells mean; empty if it may be one."""
    results = {prediction, f"{prediction}_low", f"{prediction}_high", "probability", "error"}
    if fold(column.name) in {fold(name) for name in results | {"warning", "model_version"}}:
        return "is called like a column of the results; rename it if it is none"
    if column.mostly_blank and not column.words:
        return f"mostly blank: {column.rows - column.filled:,} of {column.rows:,} cells"
    return ""


def _why_not(column: RawColumn) -> str:
    """Why a column that can be read is no feature; empty if it is one."""
    if column.constant:
        return "constant: every row has the same"
    if column.type is FeatureType.DATE and column.dates.fault is DateFault.AMBIGUOUS:
        shown = column.dates.examples[0]
        return f"day and month cannot be told apart ({shown}): write dates as 2024-05-31"
    return _identifies(column) if column.unique else ""


def _identifies(column: RawColumn) -> str:
    """Why a column whose rows all differ is no feature; empty if it is one."""
    if column.type is FeatureType.INTEGER and column.called_id:
        return "identifier: every row has a number of its own"
    if column.type is not FeatureType.CATEGORY:
        return ""
    long = column.texts.str.count(r"\s+").mean() >= _SENTENCE - 1
    return "free text" if long else "identifier: every row has a text of its own"


def _categories(column: RawColumn) -> dict[str, int]:
    """Return the categories that the schema lists, with their rows."""
    found = column.categories()
    return dict([item for item in found.items() if item[1] >= RARE][:LISTED])


def _usual(column: RawColumn) -> float | str | None:
    """Return the median, of dates and whole numbers one that occurs; None of other types."""
    if column.type is FeatureType.DATE:
        good = ~np.isnat(column.dates.days)
        days = np.sort(np.repeat(column.dates.days[good], column.counts[good]))
        return str(days[(len(days) - 1) // 2])
    if column.type is FeatureType.INTEGER:
        values = column.values()
        return int(values[(len(values) - 1) // 2])
    return float(np.median(column.values())) if column.type is FeatureType.NUMBER else None
