"""From raw text to a table worth learning from; every row dropped or repaired is counted.

In this order: the schema's columns are found, blanks recognised, outer spaces and case repaired,
numbers and dates read; then rows are dropped that have a blank where none may be, no number or date
where one is needed, a number out of its range, are there twice, or have a target far out; last the
schema has its say, through the very code that validates requests.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aimq.errors import FieldError, Invalid
from aimq.schema import Columns, Feature, FeatureType, Schema, Task, match_columns, read_columns
from aimq.schema.model import fold
from etl.numbers import Floats, Mask
from etl.tidy_column import tidy_column

#: A target this many interquartile ranges beyond its group's quartiles is a slip of the pen:
#: Tukey's outer fences (Exploratory Data Analysis, 1977).
FENCE: Final = 3.0
#: Where a larger share of a group lies beyond the fences, it is the tail of a skewed distribution.
TAIL: Final = 0.01
#: Where a larger share of the rows is there before, rows are alike by nature, not entered twice.
ALIKE: Final = 0.2


@dataclass(slots=True)
class Account:
    """What became of the rows.

    Attributes:
        rows: rows of the raw table.
        kept: rows fit for training.
        dropped: reason to rows; each dropped row is counted once, under the first reason found.
        repaired: reason to rows among all; a row may be counted under several.
    """

    rows: int
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Rows fit for training, all valid.

    Attributes:
        columns: groups and features.
        target: float64 (n,).
    """

    columns: Columns
    target: Floats
    account: Account


def clean(schema: Schema, raw: pd.DataFrame) -> Cleaned:
    """Clean a raw table of text.

    Raises:
        Invalid: columns are missing, or the dates of one cannot be read for certain; names each.
    """
    account = Account(rows=len(raw))
    named, others = _named(schema, raw)
    tidy = _tidy(schema, named, account)
    frame = _drop(tidy.frame, tidy.blank, "blank", account)
    for reason, rows in tidy.unread.items():
        frame = _drop(frame, rows[frame.index], reason, account)
    frame = _drop(frame, _out_of_range(schema, frame), "outlier: outside its range", account)
    frame = _drop(frame, _repeated(frame, others), "duplicate", account)
    frame = _drop(frame, _far_out(schema, frame), f"outlier: far-out {schema.target}", account)
    unknown = frame[schema.target].isna().to_numpy()  # classes that the schema does not have
    frame = _drop(frame, unknown, f"not allowed by the schema: {schema.target}", account)
    columns = read_columns(schema, frame[list(schema.columns)])
    for error in columns.errors[~columns.valid]:  # wrong rows only
        account.dropped[f"not allowed by the schema: {error.partition(':')[0]}"] += 1
    frame = frame[columns.valid]
    account.kept = len(frame)
    target = frame[schema.target].to_numpy(dtype=np.float64)
    return Cleaned(read_columns(schema, frame[list(schema.columns)]), target, account)


def _named(schema: Schema, raw: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the schema's columns and the target, under their canonical names, and the others.

    A column that may be blank and is not there is blank.
    """
    found, missing = match_columns(schema, list(raw.columns))
    targets = [i for i, name in enumerate(raw.columns) if fold(str(name)) == fold(schema.target)]
    if not targets:
        missing = [*missing, schema.target]
    if missing:
        raise Invalid(
            f"The table lacks the columns {', '.join(missing)}; it has "
            f"{', '.join(map(str, raw.columns))}.",
            errors=[FieldError(field=name, message="column is missing") for name in missing],
        )
    places = [*found.values(), targets[0]]
    there = raw.iloc[:, places].set_axis([*found, schema.target], axis=1)
    others = raw.iloc[:, [place for place in range(raw.shape[1]) if place not in places]]
    return there.reindex(columns=[*schema.columns, schema.target], fill_value=""), others


@dataclass(frozen=True, slots=True)
class _Tidy:
    """A table whose cells are read; n rows.

    Attributes:
        frame: numbers, canonical texts, ISO dates; NaN or None where blank or unread.
        blank: bool (n,), rows that have a blank where none may be.
        unread: reason to bool (n,), rows that have a cell that cannot be read.
    """

    frame: pd.DataFrame
    blank: Mask
    unread: dict[str, Mask]


def _tidy(schema: Schema, frame: pd.DataFrame, account: Account) -> _Tidy:
    """Repair what can be repaired, column by column."""
    cells: dict[str, Floats | NDArray[np.object_]] = {}
    touched: dict[str, Mask] = {}
    unread: dict[str, Mask] = {}
    empty = np.zeros(len(frame), dtype=np.bool_)
    for feature in (*schema.fields, _target(schema)):
        places, words = pd.factorize(frame[feature.name].astype(str).fillna(""))
        column = tidy_column(feature, pd.Series(words, dtype=str))
        for reason, rows in column.repaired.items():
            _mark(touched, reason, rows[places])
        for reason, rows in column.unread.items():
            _mark(unread, reason, rows[places])
        if not feature.blank:
            empty |= column.blank[places]
        cells[feature.name] = column.values[places]
    account.repaired.update({reason: int(rows.sum()) for reason, rows in touched.items()})
    if schema.classes:
        codes = {name: code for code, name in enumerate(schema.classes)}
        cells[schema.target] = np.array([codes.get(name, np.nan) for name in cells[schema.target]])
    return _Tidy(pd.DataFrame(cells), empty, unread)


def _target(schema: Schema) -> Feature:
    """Return the target as a feature: of classes the category whose code it is."""
    if schema.classes:
        return Feature(name=schema.target, type=FeatureType.CATEGORY, categories=schema.classes)
    return Feature(name=schema.target, type=FeatureType.NUMBER, unit=schema.target_unit)


def _mark(touched: dict[str, Mask], reason: str, rows: Mask) -> None:
    touched[reason] = touched[reason] | rows if reason in touched else rows


def _drop(frame: pd.DataFrame, rows: Mask, reason: str, account: Account) -> pd.DataFrame:
    if rows.any():
        account.dropped[reason] += int(rows.sum())
    return frame[~rows]


def _repeated(frame: pd.DataFrame, others: pd.DataFrame) -> Mask:
    """Mark rows that are there before, the columns that nobody learns from included."""
    whole = pd.concat([frame, others.loc[frame.index]], axis=1) if others.shape[1] else frame
    repeated: Mask = whole.duplicated().to_numpy(dtype=np.bool_)
    return repeated if repeated.sum() <= ALIKE * len(frame) else np.zeros(len(frame), np.bool_)


def _out_of_range(schema: Schema, frame: pd.DataFrame) -> Mask:
    ranges = {f.name: (f.minimum, f.maximum) for f in schema.features if f.numeric}
    if schema.task is Task.REGRESSION:
        ranges[schema.target] = (schema.target_minimum, schema.target_maximum)
    outside = np.zeros(len(frame), dtype=np.bool_)
    for name, (low, high) in ranges.items():
        column = frame[name].to_numpy(dtype=np.float64)
        outside |= (column < low) | (column > high) | np.isinf(column)
    return outside


def _far_out(schema: Schema, frame: pd.DataFrame) -> Mask:
    """Mark targets beyond the outer fences of their group.

    Where more than `TAIL` of a group's are, they are the tail of its distribution.
    """
    out = np.zeros(len(frame), dtype=np.bool_)
    if schema.task is Task.CLASSIFICATION:
        return out
    target = frame[schema.target].to_numpy(dtype=np.float64)
    for group in schema.groups:
        mine = np.full(len(frame), True) if schema.group is None else frame[schema.group] == group
        if not mine.any():
            continue
        low, high = np.quantile(target[mine], [0.25, 0.75])
        reach = FENCE * (high - low)
        far = (target < low - reach) | (target > high + reach)
        if far[mine].sum() <= max(1, TAIL * mine.sum()):
            out |= mine & far
    return out
