"""Small published models that are not cars: numbers without a group, classes in two groups.

``houses`` warns, has blanks, other categories, a boolean, a date, and intervals. ``weather`` has
three classes and no profile. Both are made without the training pipeline, so that only the service
is tested.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
from redisai_server.onnx_models import without_labels
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression, LogisticRegression

from aimq import published
from aimq.profile import PROFILE, ColumnProfile, Profile, encode_profile
from aimq.published import Manifest
from aimq.schema import Schema, load_schema, read_columns

VERSION = "20260101T000000Z"
#: Half-widths of 1, 2, … 99 %.
WIDTHS = [float(percent) for percent in range(1, 100)]
HOUSES = """
name = "houses"
warn = true
[target]
name = "price"
prediction = "predicted_price"
[[features]]
name = "area"
type = "number"
[[features]]
name = "rooms"
type = "integer"
blank = true
fill = 3
[[features]]
name = "colour"
type = "category"
categories = ["red", "white", "blue"]
other = true
[[features]]
name = "garden"
type = "boolean"
[[features]]
name = "built"
type = "date"
"""
WEATHER = """
name = "weather"
[group]
name = "region"
values = ["north", "south"]
[target]
name = "sky"
task = "classification"
prediction = "predicted_sky"
classes = ["clear", "cloudy \\"grey\\"", "50% rain"]
[[features]]
name = "pressure"
type = "number"
[[features]]
name = "humidity"
type = "number"
"""


def houses(rows: int, seed: int = 1) -> pd.DataFrame:
    """Sales of houses; a white one never has a garden."""
    random = np.random.default_rng(seed)
    colour = random.choice(["red", "white", "blue"], rows)
    days = pd.to_datetime("2010-01-01") + pd.to_timedelta(random.integers(0, 3650, rows), "D")
    return pd.DataFrame(
        {
            "area": random.uniform(40, 200, rows).round(1),
            "rooms": [
                None if number == 0 else int(number) for number in random.integers(0, 7, rows)
            ],
            "colour": colour,
            "garden": (random.random(rows) < 0.5) & (colour != "white"),
            "built": days.strftime("%Y-%m-%d"),
        }
    )


def weather(rows: int, seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "region": random.choice(["north", "south"], rows),
            "pressure": random.normal(1013, 10, rows).round(1),
            "humidity": random.uniform(20, 100, rows).round(1),
        }
    )


def publish_houses(models: Path, *, imported: bool = False) -> Path:
    """Publish a linear model of prices; an imported one has neither a pickle nor a profile."""
    folder = _folder(models, "houses", HOUSES)
    schema = load_schema(folder / "schema.toml")
    matrix = read_columns(schema, houses(2000)).matrix()
    model = LinearRegression().fit(matrix, matrix[:, 0] * 1000 + matrix[:, 1] * 5000)
    onnx = to_onnx(model, matrix[:1], target_opset={"": 15, "ai.onnx.ml": 1})
    onnx.ir_version = 8
    (folder / "all.onnx").write_bytes(onnx.SerializeToString())
    if not imported:
        (folder / "all.pkl").write_bytes(pickle.dumps(model))
        (folder / PROFILE).write_bytes(encode_profile(profile_of(schema, matrix)))
    return _published(folder, schema)


def publish_weather(models: Path) -> Path:
    """Publish a model of three classes for each of two regions, without a profile."""
    folder = _folder(models, "weather", WEATHER)
    schema = load_schema(folder / "schema.toml")
    for seed, group in enumerate(schema.groups):
        matrix = read_columns(schema, weather(300, seed)).matrix()
        places = np.digitize(matrix[:, 0] - matrix[:, 1] / 5 * (seed + 1), [990, 1005])
        model = LogisticRegression(max_iter=5000).fit(matrix, places)
        options = {id(model): {"zipmap": False}}
        onnx = to_onnx(model, matrix[:1], target_opset={"": 15, "ai.onnx.ml": 1}, options=options)
        (folder / f"{group}.onnx").write_bytes(without_labels(onnx))
        (folder / f"{group}.pkl").write_bytes(pickle.dumps(model))
    return _published(folder, schema)


def profile_of(schema: Schema, matrix: np.ndarray) -> Profile:
    """Describe training rows by bins of a fifth of their range, and codes."""
    columns = []
    features = [feature for feature in schema.features for _ in feature.matrix_columns]
    for feature, name, values in zip(features, schema.matrix_columns, matrix.T, strict=True):
        low, high = float(values.min()), float(values.max())
        edges = np.linspace(low, high, 6)[1:-1].tolist()
        if feature.coded:
            edges = [-1.5, -0.5, *np.arange(0.5, len(feature.categories) or 2)][:-1]
        elif low == high or name.endswith(".blank"):
            edges = [0.5]
        bins = np.searchsorted(edges, values, side="right")
        counts = np.bincount(bins, minlength=len(edges) + 1).tolist()
        columns.append(
            ColumnProfile(
                name=name,
                feature=feature.name,
                edges=[float(edge) for edge in edges],
                counts=counts,
                low=low,
                high=high,
                coded=feature.coded,
            )
        )
    names = schema.matrix_columns
    never = [(names.index("colour"), 3, names.index("garden"), 3)]  # white, true
    return Profile(
        rows=len(matrix), columns=columns, never_together=never, intervals={"all": WIDTHS}
    )


def _folder(models: Path, name: str, schema: str) -> Path:
    folder = models / name / VERSION
    folder.mkdir(parents=True)
    (folder / "schema.toml").write_text(schema)
    return folder


def _published(folder: Path, schema: Schema) -> Path:
    manifest = Manifest(
        name=schema.name,
        version=folder.name,
        groups=list(schema.groups),
        files={path.name: published.sha256(path) for path in folder.iterdir()},
        created_at="2026-01-01T00:00:00Z",
        data="made by a test",
    )
    (folder / published.MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return folder
