"""The slim image: everything but training and pickles, without the packages for them."""

from __future__ import annotations

import os
import re

import httpx
import openpyxl
import pytest

from tests.deploy.compose_run import RECORD
from tests.deploy.test_packages import pinned
from tests.system import PATIENCE, ROOT, environment, run_aimq, running

SLIM = os.pathsep.join([str(ROOT / "tests" / "deploy" / "slim"), str(ROOT)])


@pytest.fixture(scope="module")
def system(trained_models, tmp_path_factory):
    data = tmp_path_factory.mktemp("slim")
    with running(environment(data, trained_models, PYTHONPATH=SLIM)) as system:
        yield system


def test_onnx_is_served_and_the_pickle_says_why_not(system):
    answer = httpx.post(f"{system.ml_url}/predict/onnx", json=RECORD, timeout=PATIENCE)
    assert answer.status_code == 200
    for body in (RECORD, [RECORD]):
        answer = httpx.post(f"{system.ml_url}/predict/pickle", json=body, timeout=PATIENCE)
        assert answer.status_code == 501
        assert answer.headers["content-type"] == "application/problem+json"
        assert "no scikit-learn" in answer.json()["detail"]
    assert httpx.post(f"{system.url}/predict", json=RECORD, timeout=PATIENCE).status_code == 200


def test_a_spreadsheet_is_scored(system, tmp_path):
    sample = ROOT / "assets" / "sample_files" / "100_rows.xlsx"
    done = system.aimq("upload", str(sample), "-o", str(tmp_path / "result.xlsx"))
    assert done.returncode == 0, done.stderr
    rows = list(openpyxl.load_workbook(tmp_path / "result.xlsx").worksheets[0].values)
    assert len(rows) == 101
    assert all(row[-2] > 0 for row in rows[1:])


def test_training_says_why_not(trained_models, tmp_path):
    done = run_aimq(environment(tmp_path, tmp_path / "models", PYTHONPATH=SLIM), "train")
    assert done.returncode == 2
    assert re.fullmatch(r"aimq: This installation has no scikit-learn .*\n", done.stderr)


def test_what_is_hidden_here_is_what_the_lock_leaves_out():
    text = (ROOT / "tests" / "deploy" / "slim" / "sitecustomize.py").read_text()
    modules = re.findall(r'"(\w+)"', text[text.index("ABSENT = ") :].partition("\n")[0])
    hidden = {name.replace("sklearn", "scikit-learn").replace("_", "-") for name in modules}
    assert len(hidden) == 7
    assert hidden <= pinned("deploy").keys() - pinned("slim").keys()
