from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from rich.console import Console

import etl.export
from aimq.cli.train import train
from aimq.errors import AimqError, Invalid, ModelRefused, NotFound
from aimq.published import current_version, read_manifest, verified, versions
from aimq.schema import load_schema, read_columns
from aimq.settings import Settings
from etl.export import to_pickle
from etl.pipeline import SCHEMAS, run
from etl.samples import sample

HOUSES = """
name = "houses"
[group]
name = "town"
values = ["North", "South End"]
[target]
name = "rent"
prediction = "predicted_rent"
[[features]]
name = "area"
type = "number"
minimum = 10
maximum = 500
[[features]]
name = "heating"
type = "category"
categories = ["None", "Gas"]
"""


def settings_for(models: Path) -> Settings:
    return Settings(models_dir=models, model_name="used_cars")


def houses(folder: Path, rows: int = 400) -> tuple[Path, Path]:
    random = np.random.default_rng(3)
    area = random.uniform(20, 200, rows).round(1)
    heating = random.choice(["None", "gas"], rows)
    frame = pd.DataFrame(
        {
            "Rent": area * 10 + (heating == "gas") * 100,
            "id": range(rows),
            "Town": random.choice(["north", "South End"], rows),
            "AREA": area,
            "heating": heating,
        }
    )
    frame.to_csv(folder / "houses.csv", index=False)
    (folder / "houses.toml").write_text(HOUSES)
    return folder / "houses.csv", folder / "houses.toml"


def quick(models: Path, **options: object):
    chosen = {"trees": 3, "jobs": 1, "compare": False, **options}
    return run(settings_for(models), console=Console(quiet=True), **chosen)


def test_a_version_has_every_file_of_the_contract(trained_models: Path):
    folder = trained_models / "used_cars" / current_version(trained_models, "used_cars")
    files = {path.name for path in folder.iterdir()}
    models = {f"{group}.{ending}" for group in "ABC" for ending in ("onnx", "pkl")}
    described = {"schema.toml", "encoder.json", "metrics.json", "manifest.json", "profile.json"}
    assert files == models | described | {"report.html"}
    schema = load_schema(folder / "schema.toml")
    assert schema == load_schema(SCHEMAS / "used_cars.toml")
    assert json.loads((folder / "encoder.json").read_bytes()) == schema.encoder()


def test_the_manifest_says_that_the_data_are_synthetic(trained_models: Path):
    folder = trained_models / "used_cars" / current_version(trained_models, "used_cars")
    manifest = read_manifest(folder)
    assert "synthetic" in manifest.data
    assert manifest.settings == {"trees": 5, "leaf": 5, "seed": 42, "held_out": 0.2}
    assert manifest.packages["scikit-learn"]


def test_metrics_tell_rows_scores_baseline_sizes_and_parity(trained_models: Path):
    folder = trained_models / "used_cars" / current_version(trained_models, "used_cars")
    metrics = json.loads((folder / "metrics.json").read_bytes())
    rows = metrics["rows"]
    assert rows["rows"] == 900 == rows["kept"] + sum(rows["dropped"].values())
    groups = metrics["groups"]
    assert rows["kept"] == sum(g["rows_trained"] + g["rows_held_out"] for g in groups.values())
    for name, group in groups.items():
        assert group["model"]["mae"] < group["baseline"]["mae"]
        assert group["model"]["r2"] > 0.5
        assert group["parity"] <= 1e-4
        assert group["onnx_bytes"] == (folder / f"{name}.onnx").stat().st_size
        assert group["pickle_bytes"] == (folder / f"{name}.pkl").stat().st_size


def test_onnx_and_pickle_agree_on_a_thousand_varied_rows(trained_models: Path):
    folder = trained_models / "used_cars" / current_version(trained_models, "used_cars")
    manifest = read_manifest(folder)
    schema = load_schema(folder / "schema.toml")
    columns = read_columns(schema, sample(schema, 1_500))
    for index, group in enumerate(schema.groups):
        matrix = columns.matrix(columns.groups == index)
        assert len(matrix) > 300
        session = onnxruntime.InferenceSession(verified(folder, manifest, f"{group}.onnx"))
        fast = session.run(None, {"features": matrix})[0]
        assert fast.dtype == np.float32
        assert fast.shape == (len(matrix), 1)
        slow = pd.read_pickle(verified(folder, manifest, f"{group}.pkl")).predict(matrix)
        np.testing.assert_allclose(fast[:, 0], slow, rtol=1e-4)


def test_the_same_seed_trains_the_same_models(trained_models: Path, tmp_path: Path):
    again = run(settings_for(tmp_path), trees=5, rows=900, jobs=2, console=Console(quiet=True))
    folder = trained_models / "used_cars" / current_version(trained_models, "used_cars")
    first = read_manifest(folder).files
    assert {name: again.files[name] for name in first} == first


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_a_table_of_ones_own_takes_the_same_way(ending: str, tmp_path: Path):
    source, schema = houses(tmp_path)
    if ending == "xlsx":
        pd.read_csv(source, keep_default_na=False).to_excel(tmp_path / "houses.xlsx", index=False)
        source = tmp_path / "houses.xlsx"
    shown = io.StringIO()
    manifest = run(
        settings_for(tmp_path / "models"),
        source=source,
        schema=schema,
        trees=5,
        compare=False,
        console=Console(file=shown, width=80),
    )
    assert manifest.name == "houses"
    assert manifest.data == f"table houses.{ending}, 400 rows"
    assert "South End.onnx" in manifest.files
    text = shown.getvalue()
    assert "Group North: random forest fitted" in text
    assert "repaired: category spelled otherwise" in text
    assert f"Published {tmp_path / 'models' / 'houses' / manifest.version}" in text
    assert "POST /models/houses/predict" in text


def test_a_terminal_gets_a_progress_bar_per_group(tmp_path: Path):
    source, schema = houses(tmp_path)
    shown = io.StringIO()
    run(
        settings_for(tmp_path / "models"),
        source=source,
        schema=schema,
        trees=5,
        compare=False,
        console=Console(file=shown, force_terminal=True, width=100),
    )
    assert "Group South End: random forest" in shown.getvalue()
    assert "100%" in shown.getvalue()


def test_a_group_with_too_few_rows_is_named_with_its_count(tmp_path: Path):
    source, schema = houses(tmp_path)
    frame = pd.read_csv(source, keep_default_na=False)
    lonely = pd.concat([frame[frame["Town"] == "north"].head(1), frame[frame["Town"] != "north"]])
    lonely.to_csv(source, index=False)
    with pytest.raises(Invalid, match="North has 1"):
        quick(tmp_path / "models", source=source, schema=schema)
    assert not (tmp_path / "models").exists()


def test_a_table_without_the_schemas_columns_publishes_nothing(tmp_path: Path):
    source, _ = houses(tmp_path)
    with pytest.raises(Invalid, match="lacks the columns model_group, model, kilometers"):
        quick(tmp_path / "models", source=source, schema=SCHEMAS / "used_cars.toml")
    assert not (tmp_path / "models").exists()


def test_a_schema_of_ones_own_needs_a_table(tmp_path: Path):
    _, schema = houses(tmp_path)
    with pytest.raises(Invalid, match="give a table too"):
        quick(tmp_path / "models", schema=schema)


def test_a_changed_default_schema_needs_a_table(tmp_path: Path):
    text = (SCHEMAS / "used_cars.toml").read_text(encoding="utf-8")
    (tmp_path / "cars.toml").write_text(text.replace('"climate"', '"cooling"'), encoding="utf-8")
    with pytest.raises(Invalid, match="give a table too"):
        quick(tmp_path / "models", schema=tmp_path / "cars.toml")


def test_an_unknown_model_name_names_the_schemas_there_are(tmp_path: Path):
    settings = Settings(models_dir=tmp_path, model_name="boats")
    with pytest.raises(NotFound, match=r"'boats' \(there is used_cars\)"):
        run(settings)


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", ""])
def test_a_group_that_cannot_name_a_file_is_refused(name: str, tmp_path: Path):
    source, schema = houses(tmp_path)
    schema.write_text(HOUSES.replace("South End", name))
    with pytest.raises(AimqError):
        quick(tmp_path / "models", source=source, schema=schema)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("wrong", [{"trees": 0}, {"leaf": 0}, {"rows": 0}, {"held_out": 1.0}])
def test_options_without_sense_are_refused(wrong: dict[str, int], tmp_path: Path):
    with pytest.raises(Invalid, match=next(iter(wrong))):
        run(settings_for(tmp_path), **wrong)


def test_files_that_answer_differently_are_not_published(
    trained_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    models = Path(shutil.copytree(trained_models, tmp_path / "models"))
    before = versions(models, "used_cars")

    def spoilt(forest):
        forest.estimators_[0].tree_.value[:] *= 1.1
        return to_pickle(forest)

    monkeypatch.setattr(etl.export, "to_pickle", spoilt)
    with pytest.raises(ModelRefused, match="nothing is published"):
        quick(models, rows=600)
    assert versions(models, "used_cars") == before
    assert list((models / "used_cars").glob(".staging-*")) == []


def test_two_trainings_at_once_publish_two_whole_versions(tmp_path: Path):
    source, schema = houses(tmp_path)
    models = tmp_path / "models"
    threads = [
        threading.Thread(target=quick, args=(models,), kwargs={"source": source, "schema": schema})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    published = versions(models, "houses")
    assert len(published) == 2
    assert current_version(models, "houses") == published[-1]
    for version in published:
        manifest = read_manifest(models / "houses" / version)
        for name in manifest.files:
            verified(models / "houses" / version, manifest, name)


def test_killed_in_training_the_earlier_version_stays_and_the_next_run_cleans_up(tmp_path: Path):
    source, schema = houses(tmp_path)
    models = tmp_path / "models"
    first = quick(models, source=source, schema=schema)
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "import etl.fit as f, etl.pipeline as p; from aimq.settings import Settings\n"
        "real = f.export\n"
        "def told(*a):\n"
        "    print('half way', flush=True); sys.stdin.read(); return real(*a)\n"
        "f.export = told\n"
        "m, s, d = map(Path, sys.argv[1:])\n"
        "quiet = {'compare': False, 'console': Console(quiet=True)}\n"
        "p.run(Settings(models_dir=m), source=s, schema=d, trees=3, **quiet)\n"
    )
    arguments = [sys.executable, "-c", code, str(models), str(source), str(schema)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as training:
        assert training.stdout.readline() == b"half way\n"
        training.kill()
        assert training.wait(timeout=30) == -signal.SIGKILL
    assert len(list((models / "houses").glob(".staging-*"))) == 1
    assert current_version(models, "houses") == first.version
    second = quick(models, source=source, schema=schema)
    assert list((models / "houses").glob(".staging-*")) == []
    assert versions(models, "houses") == [first.version, second.version]


def test_the_command_trains_and_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    source, schema = houses(tmp_path)
    monkeypatch.setenv("AIMQ_MODELS_DIR", str(tmp_path / "models"))
    train(source=source, schema=schema, trees=3, leaf=5, seed=42, if_missing=False)
    assert "Scores on held-out rows" in capsys.readouterr().out
    assert versions(tmp_path / "models", "houses")


def test_the_manifest_of_a_run_is_the_published_one(tmp_path: Path):
    source, schema = houses(tmp_path)
    manifest = quick(tmp_path / "models", source=source, schema=schema)
    folder = tmp_path / "models" / "houses" / manifest.version
    assert msgspec.to_builtins(read_manifest(folder)) == msgspec.to_builtins(manifest)
