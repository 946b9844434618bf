"""A synthetic table of used-car sales, for the default model. No row of it is a real sale.

Prices and proportions are invented. What the data has of real tables is their dirt, so that the
pipeline has something to clean.

The price of a car, in local currency, rounded to whole units and never below 300::

    price = base(model)                           14 to 58 thousand: `BASE`
          × exp(-0.011 · age_in_months · wear)    wear 1.15 for electric cars, else 1
          × (1 - 0.35 · min(kilometers / 300,000, 1))
          × fuel × gear × body × line × doors × seats × climate × color      `FACTORS`
          × exp(0.08 · z)                         z standard normal: what the fields do not say

Kilometers follow age (about 1,150 a month, log-normal); electric cars are young; coupes and
convertibles have 2 to 3 doors.

Then the dirt, in shares of rows (`DIRT`): blanks written in several ways, outer spaces, wrong case,
numbers as text with units and thousands separators, models as fractions (``180.0``, as a table
program saves a column of numbers with blanks), outliers such as an odometer with two digits too
many, unknown categories, and rows entered twice.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aimq.schema import Schema

#: Raw rows of the default table; about 20,000 per group once cleaned.
ROWS: Final = 63_000
SEED: Final = 42

Texts = NDArray[np.object_]
Floats = NDArray[np.float64]

#: Price of a new car, by model.
BASE: Final = {
    "180": 14_000,
    "200": 16_500,
    "220": 19_000,
    "230": 21_000,
    "250": 24_000,
    "280": 27_500,
    "300": 31_000,
    "320": 34_000,
    "350": 39_000,
    "400": 44_000,
    "450": 50_000,
    "500": 58_000,
}

#: Field to category to (share of the cars, factor of the price).
FACTORS: Final[dict[str, dict[str, tuple[float, float]]]] = {
    "fuel_type": {
        "Gasoline": (0.46, 1.0),
        "Diesel": (0.30, 1.04),
        "Hybrid": (0.12, 1.12),
        "Electric": (0.08, 1.22),
        "LPG": (0.04, 0.93),
    },
    "gear_type": {
        "Manual": (0.55, 1.0),
        "Automatic": (0.38, 1.09),
        "Semi-automatic": (0.07, 1.03),
    },
    "vehicle_type": {
        "Hatchback": (0.28, 1.0),
        "Sedan Car": (0.22, 1.03),
        "Station Wagon": (0.16, 1.05),
        "SUV": (0.20, 1.16),
        "Coupe": (0.05, 1.10),
        "Convertible": (0.04, 1.18),
        "Van": (0.05, 0.97),
    },
    "line": {
        "Standard": (0.35, 1.0),
        "Comfortline": (0.35, 1.07),
        "Sportline": (0.18, 1.15),
        "Luxury": (0.12, 1.26),
    },
    "doors": {"2 to 3": (0.12, 0.97), "4 to 5": (0.88, 1.0)},
    "seats": {"1 to 3": (0.08, 0.96), "4 to 5": (0.80, 1.0), "6 to 8": (0.12, 1.04)},
    "climate": {
        "None": (0.12, 0.94),
        "Air Conditioning": (0.43, 1.0),
        "Automatic Climate Control": (0.45, 1.05),
    },
    "color": {
        "White": (0.22, 1.01),
        "Black": (0.21, 1.02),
        "Grey": (0.19, 1.01),
        "Silver": (0.14, 1.0),
        "Blue": (0.11, 1.0),
        "Red": (0.07, 0.99),
        "Green": (0.03, 0.97),
        "Other": (0.03, 0.95),
    },
}

#: Kind of dirt to the share of rows that have it.
DIRT: Final = {
    "blank": 0.02,
    "space": 0.04,
    "case": 0.05,
    "text number": 0.03,
    "fraction": 0.01,
    "outlier": 0.006,
    "unknown": 0.003,
    "duplicate": 0.015,
}

_BLANKS: Final = ("", " ", "-", "n/a", "NULL", "?")
_NOISE: Final = 0.08


def generate(schema: Schema, rows: int = ROWS, seed: int = SEED) -> pd.DataFrame:
    """Return a raw synthetic table: text in every cell, as a CSV file would give it.

    The same arguments give the same table, bit for bit.

    Args:
        schema: the default schema, whose models and column order are taken.
        rows: of the table, duplicates included.
        seed: of the random generator.
    """
    random = np.random.default_rng(seed)
    repeated = int(rows * DIRT["duplicate"])
    clean = _sales(schema, rows - repeated, random)
    dirty = _soil(schema, clean, random)
    order = np.concatenate(
        [np.arange(len(dirty)), random.choice(len(dirty), repeated, replace=repeated > len(dirty))]
    )
    return dirty.iloc[random.permutation(order)].reset_index(drop=True)


def _sales(schema: Schema, rows: int, random: np.random.Generator) -> pd.DataFrame:
    """Return cars and prices without dirt."""
    groups = random.choice(np.array(schema.groups, dtype=object), rows)
    models = np.empty(rows, dtype=object)
    known = next(feature for feature in schema.features if feature.name == "model").by_group
    for group in schema.groups:
        mine = groups == group
        models[mine] = random.choice(np.array(known[group], dtype=object), int(mine.sum()))
    drawn = {name: _draw(shares, rows, random) for name, shares in FACTORS.items()}
    electric = drawn["fuel_type"] == "Electric"
    age = np.floor(random.beta(1.4, 2.6, rows) * np.where(electric, 96, 240))
    monthly = random.lognormal(np.log(1_150), 0.35, rows)
    kilometers = np.minimum(np.floor(age * monthly + random.integers(5, 500, rows)), 480_000)
    drawn["doors"][np.isin(drawn["vehicle_type"], ["Coupe", "Convertible"])] = "2 to 3"
    numbers = {"kilometers": kilometers, "age_in_months": age}
    frame = pd.DataFrame({schema.group_feature.name: groups, "model": models, **drawn, **numbers})
    frame[schema.target] = price(frame) * np.exp(_NOISE * random.standard_normal(rows))
    for name in (*numbers, schema.target):
        frame[name] = frame[name].round().clip(lower=300 if name == schema.target else 0)
        frame[name] = frame[name].astype(np.int64).astype(str).astype(object)
    return frame[[*schema.columns, schema.target]]


def price(frame: pd.DataFrame) -> Floats:
    """Return the noiseless price of cars: float64 (n,), in local currency.

    Args:
        frame: columns of `FACTORS` and ``model`` as canonical text; ``kilometers`` and
            ``age_in_months`` as numbers.
    """
    wear = np.where(frame["fuel_type"] == "Electric", 1.15, 1.0)
    age = frame["age_in_months"].to_numpy(dtype=np.float64)
    kilometers = frame["kilometers"].to_numpy(dtype=np.float64)
    value = np.asarray(frame["model"].map(BASE), dtype=np.float64)
    value = value * np.exp(-0.011 * age * wear)
    value = value * (1 - 0.35 * np.minimum(kilometers / 300_000, 1))
    for name, shares in FACTORS.items():
        factors = {category: factor for category, (_, factor) in shares.items()}
        value = value * np.asarray(frame[name].map(factors), dtype=np.float64)
    return value


def _draw(shares: dict[str, tuple[float, float]], rows: int, random: np.random.Generator) -> Texts:
    weights = np.array([share for share, _ in shares.values()])
    return random.choice(np.array(list(shares), dtype=object), rows, p=weights / weights.sum())


def _soil(schema: Schema, clean: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Return the table with the dirt of real ones, in `DIRT`'s shares."""
    cells = {name: clean[name].to_numpy(dtype=object).copy() for name in clean.columns}
    words = [schema.group_feature.name, *(f.name for f in schema.features if not f.numeric)]

    def some(kind: str, among: list[str]) -> list[tuple[Texts, NDArray[np.intp]]]:
        """Choose rows for a kind of dirt, and for each row a column it falls on."""
        rows = np.flatnonzero(random.random(len(clean)) < DIRT[kind])
        falls = random.integers(0, len(among), len(rows))
        return [(cells[name], rows[falls == index]) for index, name in enumerate(among)]

    for column, rows in some("fraction", ["model"]):
        column[rows] = column[rows] + ".0"
    for column, rows in some("case", words):
        upper = random.random(len(rows)) < 0.5  # noqa: PLR2004 - half of them
        text = column[rows].astype(str)
        column[rows] = np.where(upper, np.char.upper(text), np.char.lower(text)).astype(object)
    for column, rows in some("space", words):
        column[rows] = "  " + column[rows] + " "
    for column, rows in some("outlier", ["kilometers", "age_in_months", schema.target]):
        column[rows] = column[rows] + "99"
    for column, rows in some("unknown", words[1:]):
        column[rows] = column[rows] + "x"
    for column, rows in some("text number", ["kilometers", schema.target]):
        unit = " km" if column is cells["kilometers"] else ""
        column[rows] = pd.Series(column[rows], dtype=object).map(
            lambda text, unit=unit: f"{int(text):,}{unit}"
        )
    for column, rows in some("blank", list(cells)):
        column[rows] = random.choice(np.array(_BLANKS, dtype=object), len(rows))
    return pd.DataFrame(cells)
