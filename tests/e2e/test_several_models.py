"""Two models behind one door, by the command line alone: which one scores, and which version."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import openpyxl
import pytest

from aimq import published
from tests.system import ROOT, environment, run_aimq, running

SAMPLE = ROOT / "assets" / "sample_files" / "100_rows.xlsx"
OLD, NEW = "20250101T000000Z", "20250202T000000Z"


def publish(models: Path, name: str, version: str) -> None:
    """Publish the trained model as a version of another."""
    (folder,) = (models / "used_cars").glob("[0-9]*")
    shutil.copytree(folder, models / name / version)
    manifest = published.read_manifest(folder)
    changed = msgspec.structs.replace(manifest, name=name, version=version)
    (models / name / version / published.MANIFEST).write_bytes(msgspec.json.encode(changed))


@pytest.fixture(scope="module")
def shared(trained_models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    models = folder / "models"
    shutil.copytree(trained_models, models)
    for version in (OLD, NEW):
        publish(models, "coupes", version)
    with running(environment(folder / "data", models)) as system:
        yield system


def row_of(system, name: str) -> str:
    done = system.aimq("models")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(name)]
    return line


def test_models_are_listed_with_version_age_task_and_score(shared):
    default, other = row_of(shared, "used_cars"), row_of(shared, "coupes")
    assert default.startswith("used_cars (default)")
    for line in (default, other):
        assert "regression" in line
        assert "A: mae" in line
    assert NEW in other
    assert " d " in other  # its age


def test_a_version_is_used_rolled_back_and_tried_on_a_share(shared):
    assert (
        shared.aimq("models", "use", "coupes", OLD).stdout == f"coupes: version {OLD} is served\n"
    )
    assert row_of(shared, "coupes").split()[2] == OLD
    shared.aimq("models", "use", "coupes", NEW)
    back = shared.aimq("models", "rollback", "coupes")
    assert back.stdout == f"coupes: version {OLD} is served\n", back.stderr

    tried = shared.aimq("models", "use", "coupes", NEW, "--canary", "10")
    assert tried.stdout == f"coupes: version {NEW} answers 10 % of single records\n", tried.stderr
    assert f"{NEW} 10 %" in row_of(shared, "coupes")
    assert (
        shared.aimq("models", "use", "coupes", NEW, "--canary", "0").stdout == "coupes: no canary\n"
    )
    assert " % " not in row_of(shared, "coupes")


def test_a_sheet_is_scored_by_the_model_that_is_named(shared, tmp_path):
    result = tmp_path / "scored.xlsx"
    named = shared.aimq("upload", str(SAMPLE), "-o", str(result), "--model", "coupes")
    assert named.returncode == 0, named.stderr
    assert "scored by coupes, version 2025" in named.stdout
    header = next(openpyxl.load_workbook(result).active.values)
    assert header[-2:] == ("predicted_price", "error")

    shared.aimq("upload", str(SAMPLE), "-o", str(result), "--model", "coupes", "--interval", "90")
    _, row, *_ = rows = list(openpyxl.load_workbook(result).active.values)
    added = ("predicted_price", "predicted_price_low", "predicted_price_high", "error")
    assert rows[0][-4:] == added
    assert row[-3] < row[-4] < row[-2]

    by_columns = shared.aimq("upload", str(SAMPLE), "-o", str(result))
    assert "scored by used_cars, version" in by_columns.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models", "use", "castles", NEW], "castles"),
        (["models", "use", "..", NEW], "'..'"),
        (["models", "use", "coupes", "20200101T000000Z"], f"{OLD}, {NEW}"),
        (["models", "rollback", "used_cars"], "older"),
        (["upload", str(SAMPLE), "--model", "castles"], "coupes, used_cars"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_1(shared, tmp_path, arguments, said):
    if arguments[0] == "upload":
        arguments = [*arguments, "-o", str(tmp_path / "out.xlsx")]
    done = shared.aimq(*arguments)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("aimq: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_exit_code_2(shared):
    assert shared.aimq("models", "use", "coupes", NEW, "--canary", "101").returncode == 2
    assert shared.aimq("upload", str(SAMPLE), "--interval", "10").returncode == 2


def test_an_interface_that_is_not_there_is_exit_code_3(trained_models, tmp_path):
    done = run_aimq(environment(tmp_path, trained_models), "models")
    assert done.returncode == 3
    assert "does not answer" in done.stderr
