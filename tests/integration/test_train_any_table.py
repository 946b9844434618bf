"""``aimq train`` from a file to a published version, for four tables unlike cars."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import tomli_w
from typer.testing import CliRunner

from aimq.cli.main import app
from aimq.profile import read_profile
from aimq.published import current_version, read_manifest, verified
from aimq.schema import RecordEncoder, Schema, load_schema
from etl.clean import clean
from etl.extract import extract
from etl.infer import infer
from tests.tables import TrainingTable

SMALL = ["--budget", "1", "--trees", "10", "--json"]


@pytest.fixture(scope="module", params=["diabetes", "tumours", "wines", "rentals"])
def trained(
    request: pytest.FixtureRequest,
    tables: dict[str, TrainingTable],
    tmp_path_factory: pytest.TempPathFactory,
):
    """A table, the folder that `aimq train` was run in, and what it printed."""
    table = tables[request.param]
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("AIMQ_MODELS_DIR", str(folder / "models"))
        done = CliRunner().invoke(app, ["train", *table.arguments(), *SMALL])
    assert done.exit_code == 0, done.output
    return table, folder, done.output


def version_of(folder: Path, name: str) -> Path:
    return folder / "models" / name / current_version(folder / "models", name)


def record_of(schema: Schema, cells: dict[str, object]) -> dict[str, object]:
    """A row of a table as a JSON record: what is blank is null."""
    plain = {name: cells[name] for name in schema.columns}
    return json.loads(pd.Series(plain).to_json())


def test_the_last_line_says_what_is_published(trained):
    table, folder, output = trained
    published = json.loads(output.splitlines()[-1])
    version = version_of(folder, table.name)
    assert published["name"] == table.name
    assert published["version"] == version.name
    assert (folder / published["path"]).samefile(version)
    assert published["task"] == table.task
    metric = "mae" if table.task == "regression" else "log_loss"
    for scores in published["groups"].values():
        assert scores["model"][metric] < scores["baseline"][metric]


def test_the_columns_are_shown_and_why_some_are_left_out(trained):
    table, folder, output = trained
    for column in table.frame.columns:
        assert column in output
    metrics = json.loads((version_of(folder, table.name) / "metrics.json").read_bytes())
    left_out = set(table.frame.columns) - {*table.features, table.target, table.group}
    assert set(metrics["left_out"]) == left_out
    assert metrics["task"] == table.task


def test_every_group_is_compared_and_onnx_answers_like_scikit_learn_on_every_row(trained):
    table, folder, _ = trained
    version = version_of(folder, table.name)
    manifest, schema = read_manifest(version), load_schema(version / "schema.toml")
    metrics = json.loads((version / "metrics.json").read_bytes())
    columns = clean(schema, extract(table.path)).columns
    for place, group in enumerate(schema.groups):
        report = metrics["groups"][group]
        assert report["chosen"] in report["compared"]
        assert len(report["compared"]) == 4
        assert set(report["coverage"]) == (
            {"50", "80", "90", "95"} if table.task == "regression" else set()
        )
        matrix = columns.matrix(columns.groups == place)
        session = onnxruntime.InferenceSession(verified(version, manifest, f"{group}.onnx"))
        (fast,) = session.run(None, {session.get_inputs()[0].name: matrix})
        model = pd.read_pickle(verified(version, manifest, f"{group}.pkl"))
        if schema.classes:
            assert fast.shape == (len(matrix), len(schema.classes))
            np.testing.assert_allclose(fast, model.predict_proba(matrix), atol=1e-4)
        else:
            np.testing.assert_allclose(fast[:, 0], model.predict(matrix), rtol=1e-4)


def test_a_row_of_the_table_is_a_record_of_the_schema(trained):
    table, folder, _ = trained
    schema = load_schema(version_of(folder, table.name) / "schema.toml")
    encoder = RecordEncoder(schema)
    for _, cells in table.sheet(30).iterrows():
        encoded = encoder.encode(record_of(schema, cells.to_dict()))
        assert len(encoded.row) == len(schema.matrix_columns)


def test_the_profile_is_of_the_rows_that_were_trained_on(trained):
    table, folder, _ = trained
    version = version_of(folder, table.name)
    profile = read_profile(version / "profile.json")
    metrics = json.loads((version / "metrics.json").read_bytes())
    assert profile.rows == sum(group["rows_trained"] for group in metrics["groups"].values())
    assert len(profile.columns) == len(load_schema(version / "schema.toml").matrix_columns)


def test_the_schema_is_written_to_edit(trained):
    table, folder, _ = trained
    written = folder / f"{table.name}.schema.toml"
    assert load_schema(written) == load_schema(version_of(folder, table.name) / "schema.toml")


def test_an_edited_schema_is_left_alone_and_can_be_trained_with(
    tables: dict[str, TrainingTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIMQ_MODELS_DIR", str(tmp_path / "models"))
    wines, edited = tables["wines"], tmp_path / "wines.schema.toml"
    source = infer(extract(wines.path), target=wines.target, name=wines.name).source
    content = tomli_w.dumps({**source, "warn": False})
    edited.write_text(content)
    inferred = CliRunner().invoke(app, ["train", *wines.arguments(), *SMALL])
    assert inferred.exit_code == 0
    assert "it is left as it is" in inferred.output
    assert edited.read_text() == content
    own = ["train", str(wines.path), "--schema", edited.name, "--name", "mine", *SMALL]
    assert CliRunner().invoke(app, own).exit_code == 0
    assert not load_schema(version_of(tmp_path, "mine") / "schema.toml").warn
