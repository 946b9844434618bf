"""From raw text to a table worth learning from; every row dropped or repaired is counted.

In this order: the schema's columns are found, blanks recognised, outer spaces and case repaired,
numbers read; then rows are dropped that have a blank, no number where one is needed, a number out
of its range, are there twice, or have a target far out; last the schema has its say, through the
very code that validates requests.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aimq.errors import FieldError, Invalid
from aimq.schema import Columns, Schema, match_columns, read_columns
from aimq.schema.model import fold

#: What stands for nothing in a cell, folded, unless the schema has a category of that name.
BLANKS: Final = frozenset(
    {"", "-", "--", "?", "n/a", "na", "nan", "null", "none", "#n/a", "<na>", "nil", "unknown"}
)
#: A target this many interquartile ranges beyond its group's quartiles is a slip of the pen:
#: Tukey's outer fences (Exploratory Data Analysis, 1977).
FENCE: Final = 3.0
_THOUSANDS: Final = r"^[+-]?\d{1,3}(?:[, '\u00a0\u202f]\d{3})+(?:\.\d+)?$"

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


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
        Invalid: columns are missing; names each.
    """
    account = Account(rows=len(raw))
    frame, blank = _tidy(schema, _named(schema, raw), account)
    frame = _drop(frame, blank, "blank", account)
    frame = _drop(frame, frame.isna().any(axis=1).to_numpy(), "not a number", account)
    frame = _drop(frame, _out_of_range(schema, frame), "outlier: outside its range", account)
    frame = _drop(frame, frame.duplicated().to_numpy(), "duplicate", account)
    frame = _drop(frame, _far_out(schema, frame), f"outlier: far-out {schema.target}", account)
    columns = read_columns(schema, frame[list(schema.columns)])
    for error in columns.errors[~columns.valid]:  # wrong rows only
        account.dropped[f"not allowed by the schema: {error.partition(':')[0]}"] += 1
    frame = frame[columns.valid]
    account.kept = len(frame)
    target = frame[schema.target].to_numpy(dtype=np.float64)
    return Cleaned(read_columns(schema, frame[list(schema.columns)]), target, account)


def _named(schema: Schema, raw: pd.DataFrame) -> pd.DataFrame:
    """Return the schema's columns and the target, under their canonical names."""
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
    named = raw.iloc[:, [*(found[name] for name in schema.columns), targets[0]]]
    return named.set_axis([*schema.columns, schema.target], axis=1)


def _tidy(schema: Schema, frame: pd.DataFrame, account: Account) -> tuple[pd.DataFrame, Mask]:
    """Repair what can be repaired, column by column.

    Returns:
        The table, NaN where a cell cannot be read, and the rows that have a blank.
    """
    features = schema.fields
    categories = {
        f.name: {spelling: f.categories[code] for spelling, code in f.codes().items()}
        for f in features
        if not f.numeric
    }
    units = {f.name: f.unit for f in schema.features} | {schema.target: schema.target_unit}
    tidy: dict[str, pd.Series[str] | Floats] = {}
    touched: dict[str, Mask] = {}
    empty = np.zeros(len(frame), dtype=np.bool_)
    for name in frame.columns:
        places, words = pd.factorize(frame[name].astype(str).fillna(""))
        raw = pd.Series(words, dtype=str)
        text = raw.str.strip()
        folded = text.map(fold).astype(str)
        known = categories.get(name, {})
        blank = (folded.isin(BLANKS) & ~folded.isin(list(known))).to_numpy()
        spaced = (raw != text).to_numpy() & ~blank
        if name in categories:
            canonical = folded.map(known).fillna(text).mask(blank)
            respelled = (canonical != text).to_numpy() & ~blank
            _mark(touched, "category spelled otherwise", respelled[places])
            tidy[name] = canonical.iloc[places].reset_index(drop=True)
        else:
            numbers, rewritten = _numbers(text, units[name])
            _mark(touched, "number written as text", (rewritten & ~blank)[places])
            tidy[name] = np.where(blank, np.nan, numbers)[places]
        _mark(touched, "outer spaces", spaced[places])
        empty |= blank[places]
    account.repaired.update({reason: int(rows.sum()) for reason, rows in touched.items()})
    return pd.DataFrame(tidy), empty


def _mark(touched: dict[str, Mask], reason: str, rows: Mask) -> None:
    touched[reason] = touched[reason] | rows if reason in touched else rows


def _numbers(text: pd.Series[str], unit: str) -> tuple[Floats, Mask]:
    """Read numbers; those with a unit or thousands separators are rewritten, and marked so."""
    plain = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
    bare = text.str.removesuffix(unit).str.rstrip() if unit else text
    grouped = bare.str.fullmatch(_THOUSANDS)
    bare = bare.where(~grouped, bare.str.replace(r"[^\d.+-]", "", regex=True))
    rewritten = pd.to_numeric(bare, errors="coerce").to_numpy(dtype=np.float64)
    repaired: Mask = np.isnan(plain) & ~np.isnan(rewritten)
    return np.where(repaired, rewritten, plain), repaired


def _drop(frame: pd.DataFrame, rows: Mask, reason: str, account: Account) -> pd.DataFrame:
    if rows.any():
        account.dropped[reason] += int(rows.sum())
    return frame[~rows]


def _out_of_range(schema: Schema, frame: pd.DataFrame) -> Mask:
    ranges = {f.name: (f.minimum, f.maximum) for f in schema.features if f.numeric}
    ranges[schema.target] = (schema.target_minimum, schema.target_maximum)
    inside = np.ones(len(frame), dtype=np.bool_)
    for name, (low, high) in ranges.items():
        column = frame[name].to_numpy(dtype=np.float64)
        inside &= (column >= low) & (column <= high) & np.isfinite(column)
    return ~inside


def _far_out(schema: Schema, frame: pd.DataFrame) -> Mask:
    """Mark targets beyond the outer fences of their group."""
    target = frame[schema.target].to_numpy(dtype=np.float64)
    groups = frame[schema.group].to_numpy()
    out = np.zeros(len(frame), dtype=np.bool_)
    for group in schema.groups:
        mine = groups == group
        if not mine.any():
            continue
        low, high = np.quantile(target[mine], [0.25, 0.75])
        reach = FENCE * (high - low)
        out[mine] = (target[mine] < low - reach) | (target[mine] > high + reach)
    return out
