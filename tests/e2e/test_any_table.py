"""Somebody's own tables, from the file to served predictions, with the command line alone."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import httpx
import numpy as np
import pandas as pd
import pytest

from aimq import published
from aimq.schema import load_schema, read_columns
from tests.system import ROOT, environment, running

#: Four trainings take their time on a loaded machine.
pytestmark = pytest.mark.timeout(400)

ROWS = 60
NAMES = ("diabetes", "tumours", "wines", "rentals")


@pytest.fixture(scope="module")
def models(tables, tmp_path_factory):
    """Four models, each trained by one command in an empty folder."""
    folder = tmp_path_factory.mktemp("any table")
    environ = {**os.environ, "AIMQ_MODELS_DIR": str(folder / "models"), "PYTHONPATH": str(ROOT)}
    for table in tables.values():
        done = subprocess.run(
            [sys.executable, "-m", "aimq", "train", *table.arguments(), "--trees", "20", "--json"],
            env=environ, cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout.splitlines()[-1])
        assert (said["name"], said["task"]) == (table.name, table.task)
    return folder / "models"


@pytest.fixture(scope="module")
def system(adapters, models, tmp_path_factory):
    with running(environment(tmp_path_factory.mktemp("data"), models, **adapters)) as system:
        yield system


def version_of(models, name):
    folder = models / name / published.current_version(models, name)
    return folder, load_schema(folder / "schema.toml")


def by_scikit_learn(models, name, sheet):
    """Return what the pickles say of a sheet's rows: numbers, or probabilities of each class."""
    folder, schema = version_of(models, name)
    columns = read_columns(schema, sheet[list(schema.columns)])
    assert columns.valid.all()
    answers = [None] * len(sheet)
    for index, group in enumerate(schema.groups):
        rows = np.flatnonzero(columns.groups == index)
        model = pickle.loads((folder / f"{group}.pkl").read_bytes())
        ask = model.predict_proba if schema.classes else model.predict
        for row, answer in zip(rows, ask(columns.matrix(columns.groups == index)), strict=True):
            answers[row] = answer
    return schema, np.array(answers)


@pytest.mark.parametrize("name", NAMES)
def test_a_sheet_finds_its_model_and_comes_back_as_scikit_learn_would_have_it(
    system, models, tables, tmp_path, name
):
    sheet = tables[name].sheet(ROWS)
    source, target = tmp_path / "mine.xlsx", tmp_path / "scored.xlsx"
    sheet.to_excel(source, index=False)
    done = system.aimq("upload", str(source), "-o", str(target))
    assert done.returncode == 0, done.stderr
    assert name in done.stdout
    scored = pd.read_excel(target, engine="openpyxl")
    schema, expected = by_scikit_learn(models, name, sheet)
    assert list(scored.columns)[: len(sheet.columns)] == list(sheet.columns)
    assert list(scored.columns)[-1] == "error"
    assert scored["error"].isna().all()
    if schema.classes:
        likeliest = expected.argmax(axis=1)
        assert scored[schema.prediction].tolist() == [schema.classes[at] for at in likeliest]
        np.testing.assert_allclose(scored["probability"], expected.max(axis=1), rtol=1e-4)
    else:
        np.testing.assert_allclose(scored[schema.prediction], expected, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_predicted_as_its_row_is(system, models, tables, name):
    sheet = tables[name].sheet(5)
    schema, expected = by_scikit_learn(models, name, sheet)
    records = json.loads(sheet.to_json(orient="records"))  # blanks become null
    for record, wanted in zip(records, expected, strict=True):
        answer = httpx.post(f"{system.url}/models/{name}/predict", json=record, timeout=30.0)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert said["model_version"] == published.current_version(models, name)
        if schema.classes:
            assert said[schema.prediction] == schema.classes[int(wanted.argmax())]
            assert said["probability"] == pytest.approx(wanted.max(), rel=1e-4)
        else:
            assert said[schema.prediction] == pytest.approx(wanted, rel=1e-4)
        assert (schema.group in said) == (schema.group is not None)


def test_intervals_hold_the_prediction_in_sheets_and_records(system, tables, tmp_path):
    sheet = tables["rentals"].sheet(ROWS)
    source, target = tmp_path / "mine.xlsx", tmp_path / "scored.xlsx"
    sheet.to_excel(source, index=False)
    done = system.aimq("upload", str(source), "-o", str(target), "--interval", "90")
    assert done.returncode == 0, done.stderr
    scored = pd.read_excel(target, engine="openpyxl")
    low, high = scored["predicted_price_low"], scored["predicted_price_high"]
    assert (low < scored["predicted_price"]).all()
    assert (scored["predicted_price"] < high).all()
    record = json.loads(sheet.head(1).to_json(orient="records"))[0]
    url = f"{system.url}/models/rentals/predict?interval=90"
    said = httpx.post(url, json=record, timeout=30.0).json()
    assert said["predicted_price_low"] == pytest.approx(low[0])
    assert said["predicted_price_high"] == pytest.approx(high[0])


def test_what_was_not_trained_on_is_warned_of(system, tables):
    record = json.loads(tables["rentals"].sheet(1).to_json(orient="records"))[0]
    strange = {**record, "nights": 400}
    url = f"{system.url}/models/rentals/predict"
    assert "warning" not in httpx.post(url, json=record, timeout=30.0).json()
    assert "nights" in httpx.post(url, json=strange, timeout=30.0).json()["warning"]


def test_every_model_is_listed_with_its_version(system, models):
    listed = system.aimq("models")
    assert listed.returncode == 0, listed.stderr
    for name in NAMES:
        assert name in listed.stdout
        assert published.current_version(models, name) in listed.stdout
