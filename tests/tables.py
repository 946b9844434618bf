"""Four tables unlike cars, as people have them, for tests of training and serving any table.

Three are the ones that scikit-learn ships; the fourth is made. Each is small, so that a training
takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine


@dataclass(frozen=True, slots=True)
class TrainingTable:
    """A table in a file.

    Attributes:
        name: of the model, and of the file without its ending.
        frame: the same cells, with types; NaN where blank.
        features: columns that inference makes features of.
    """

    name: str
    path: Path
    frame: pd.DataFrame
    target: str
    task: str
    features: tuple[str, ...]
    group: str | None = None

    def arguments(self) -> list[str]:
        """What follows ``aimq train`` on the command line."""
        group = [] if self.group is None else ["--group", self.group]
        return [str(self.path), "--target", self.target, *group]

    def sheet(self, rows: int) -> pd.DataFrame:
        """The first rows without the target: what somebody has predicted."""
        return self.frame.drop(columns=self.target).head(rows)


def write_tables(folder: Path) -> dict[str, TrainingTable]:
    """Write ``diabetes.csv``, ``tumours.xlsx``, ``wines.parquet``, ``rentals.csv``; by name."""
    tables = [_diabetes(folder), _tumours(folder), _wines(folder), _rentals(folder)]
    return {table.name: table for table in tables}


def _diabetes(folder: Path) -> TrainingTable:
    """Regression without a group; one in twenty cells of two columns is blank."""
    frame = load_diabetes(as_frame=True, scaled=False).frame.rename(columns={"target": "progress"})
    random = np.random.default_rng(5)
    for name in ("bmi", "s5"):
        frame.loc[random.random(len(frame)) < 0.05, name] = np.nan
    path = folder / "diabetes.csv"
    frame.to_csv(path, index=False)
    features = tuple(name for name in frame.columns if name != "progress")
    return TrainingTable("diabetes", path, frame, "progress", "regression", features)


def _tumours(folder: Path) -> TrainingTable:
    """Two classes, ten features, a number for each patient."""
    data = load_breast_cancer(as_frame=True)
    frame = data.data.filter(like="mean ").copy()
    features = tuple(frame.columns)
    frame.insert(0, "patient_id", range(1001, 1001 + len(frame)))
    frame["diagnosis"] = data.target_names[data.target]
    path = folder / "tumours.xlsx"
    frame.to_excel(path, index=False)
    return TrainingTable("tumours", path, frame, "diagnosis", "classification", features)


def _wines(folder: Path) -> TrainingTable:
    """Three classes."""
    data = load_wine(as_frame=True)
    frame = data.data.copy()
    features = tuple(frame.columns)
    frame["cultivar"] = data.target_names[data.target]
    path = folder / "wines.parquet"
    frame.to_parquet(path, index=False)
    return TrainingTable("wines", path, frame, "cultivar", "classification", features)


def _rentals(folder: Path, rows: int = 600) -> TrainingTable:
    """Regression with groups, dates, a category, a boolean, and columns that nobody learns from."""
    random = np.random.default_rng(11)
    town = random.choice(["Bergen", "Oslo"], rows)
    arrival = pd.Timestamp("2023-01-01") + pd.to_timedelta(random.integers(0, 730, rows), unit="D")
    nights = random.integers(1, 15, rows)
    room = random.choice(["single", "double", "suite"], rows, p=[0.5, 0.4, 0.1])
    pets = random.choice(["yes", "no"], rows, p=[0.2, 0.8])
    rate = pd.Series(room).map({"single": 70.0, "double": 95.0, "suite": 180.0}).to_numpy()
    season = np.where(np.isin(arrival.month, (6, 7, 8)), 1.5, 1.0)
    price = nights * rate * season * np.where(town == "Oslo", 1.2, 1.0) + 25 * (pets == "yes")
    frame = pd.DataFrame(
        {
            "booking_id": random.permutation(rows) + 5000,
            "town": town,
            "arrival": arrival.strftime("%Y-%m-%d"),
            "nights": nights,
            "room": room,
            "pets": pets,
            "currency": "NOK",
            "remark": [f"guest {i} wrote a long remark about towels" for i in range(rows)],
            "price": (price * np.exp(random.normal(0, 0.05, rows))).round(2),
        }
    )
    path = folder / "rentals.csv"
    frame.to_csv(path, index=False)
    features = ("arrival", "nights", "room", "pets")
    return TrainingTable("rentals", path, frame, "price", "regression", features, "town")
